"""The clients that speak gRPC: one connection each, kept open, shared by all requests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Any

import numpy.typing as npt
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from imagegen_client.arguments import GenerateArguments, StreamArguments, takes_arguments
from imagegen_client.description import ModelDescription
from imagegen_client.errors import from_triton
from imagegen_client.results import GenerateResult, parse_result
from imagegen_client.streaming import Event, stream_events, stream_events_aio, stream_tensors_aio
from imagegen_client.transport import (
    ADMIN_MODEL,
    CANCEL_MODEL,
    CHANNEL_ARGUMENTS,
    DESCRIPTION_MODEL,
    DESCRIPTION_OUTPUT,
    MODEL,
    STREAM_MODEL,
    admin_inputs,
    cancel_inputs,
    checked_address,
    id_headers,
    infer_options,
    parse_admin_state,
    parse_description,
)


class ImageClient:
    """Blocking, over gRPC; several threads may share one.

    Args:
        url: `host:port` of the server's gRPC endpoint.
        model: the name of the model to call.
    """

    def __init__(self, url: str = "localhost:8001", *, model: str = MODEL) -> None:
        self._model = model
        self._url = checked_address(url)
        self._client = triton.InferenceServerClient(self._url, channel_args=CHANNEL_ARGUMENTS)

    @takes_arguments(GenerateArguments)
    def generate(self, arguments: GenerateArguments) -> GenerateResult:
        """Make images; the arguments are those of `GenerateArguments`.

        Raises:
            ImageGenerationError: one of the classes in `imagegen_client.errors`.
        """
        options = infer_options(triton.InferInput, arguments)
        try:
            response = self._client.infer(
                self._model,
                client_timeout=arguments.timeout_s,
                headers=id_headers(arguments.request_id),
                **options,
            )
        except InferenceServerException as error:
            raise from_triton(error) from error
        return parse_result(response, arguments.response_format)

    @takes_arguments(StreamArguments)
    def stream(self, arguments: StreamArguments) -> Generator[Event, None, None]:
        """Make images and yield what comes: `Progress` and `Preview`, and last the `GenerateResult`.

        Closing the iterator, as leaving a loop over `contextlib.closing(client.stream(...))` does, cancels the request.

        Raises:
            ImageGenerationError: one of the classes in `imagegen_client.errors`.
        """
        return stream_events(self._url, STREAM_MODEL, arguments)

    def cancel(self, request_id: str) -> bool:
        """Cancel every request with this `request_id`, whoever sent it; they end with `Cancelled`.

        Returns:
            whether one was being generated. One that still waits in the queue ends when its turn comes.

        Raises:
            ImageGenerationError: one of the classes in `imagegen_client.errors`.
        """
        try:
            response = self._client.infer(
                CANCEL_MODEL, cancel_inputs(triton.InferInput, request_id), headers=id_headers(request_id)
            )
        except InferenceServerException as error:
            raise from_triton(error) from error
        return bool(response.as_numpy("cancelled")[0])

    def administrate(
        self,
        command: str,
        admin_key: str,
        *,
        level: int | None = None,
        lora_name: str | None = None,
        lora_path: str | None = None,
    ) -> dict[str, Any]:
        """Put the model to sleep, wake it, load or unload a LoRA adapter, or ask for the state; waits until it is done.

        Args:
            command: sleep, wake, status, load_lora or unload_lora.
            admin_key: what the server was started with as IMAGEGEN_ADMIN_KEY.
            level: of a sleep: 1 keeps the weights in the host's memory, 2 nowhere.
            lora_name: of load_lora and unload_lora: what requests call the adapter.
            lora_path: of load_lora: a file or folder on the server, or a hub id.

        Returns:
            `instances`, each with its name as `instance` and its `sleep_level`, 0 while it is awake.

        Raises:
            ImageGenerationError: one of the classes in `imagegen_client.errors`; `InvalidArgument` whose field is
                `admin_key` for a wrong key.
        """
        inputs = admin_inputs(triton.InferInput, command, admin_key, level, lora_name, lora_path)
        try:
            response = self._client.infer(ADMIN_MODEL, inputs)
        except InferenceServerException as error:
            raise from_triton(error) from error
        return parse_admin_state(response)

    def describe(self) -> ModelDescription:
        """What the served model can do.

        Raises:
            ImageGenerationError: one of the classes in `imagegen_client.errors`.
        """
        try:
            response = self._client.infer(
                DESCRIPTION_MODEL, [], outputs=[triton.InferRequestedOutput(DESCRIPTION_OUTPUT)]
            )
        except InferenceServerException as error:
            raise from_triton(error) from error
        return parse_description(response)

    def close(self) -> None:
        """Close the connection; requests under way end with `Cancelled`."""
        self._client.close()

    def __enter__(self) -> ImageClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncImageClient:
    """For asyncio, over gRPC; made and used inside a running event loop.

    Args:
        url: `host:port` of the server's gRPC endpoint.
        model: the name of the model to call.
        stream_model: the name of the model that streams call.
    """

    def __init__(self, url: str = "localhost:8001", *, model: str = MODEL, stream_model: str = STREAM_MODEL) -> None:
        self._model = model
        self._stream_model = stream_model
        # A connection of its own: gRPC would else go on using that of an earlier client, which may be a dead one.
        channel_arguments = [*CHANNEL_ARGUMENTS, ("grpc.use_local_subchannel_pool", 1)]
        self._client = triton_aio.InferenceServerClient(checked_address(url), channel_args=channel_arguments)

    @takes_arguments(GenerateArguments)
    async def generate(self, arguments: GenerateArguments) -> GenerateResult:
        """Make images; the arguments are those of `GenerateArguments`.

        Raises:
            ImageGenerationError: one of the classes in `imagegen_client.errors`.
        """
        options = infer_options(triton.InferInput, arguments)
        try:
            response = await self._client.infer(
                self._model,
                client_timeout=arguments.timeout_s,
                headers=id_headers(arguments.request_id),
                **options,
            )
        except InferenceServerException as error:
            raise from_triton(error) from error
        return parse_result(response, arguments.response_format)

    @takes_arguments(StreamArguments)
    def stream(self, arguments: StreamArguments) -> AsyncGenerator[Event, None]:
        """As `ImageClient.stream`, to be iterated with `async for`."""
        return stream_events_aio(self._client, self._stream_model, arguments)

    def stream_tensors(
        self, arguments: StreamArguments, outputs: Sequence[str]
    ) -> AsyncGenerator[dict[str, npt.NDArray[Any]], None]:
        """As `stream`, but yields output tensors as the server sent them, for programs that pass them on.

        Args:
            arguments: the request.
            outputs: names of the output tensors to request: `event`, which says what a response is ("progress",
                "preview" or last "completed"), and others. Without `step` among them the server sends no progress.

        Yields:
            for each response the tensors that it has, by name.

        Raises:
            ImageGenerationError: one of the classes in `imagegen_client.errors`.
        """
        return stream_tensors_aio(self._client, self._stream_model, arguments, outputs)

    async def cancel(self, request_id: str) -> bool:
        """As `ImageClient.cancel`."""
        try:
            response = await self._client.infer(
                CANCEL_MODEL, cancel_inputs(triton.InferInput, request_id), headers=id_headers(request_id)
            )
        except InferenceServerException as error:
            raise from_triton(error) from error
        return bool(response.as_numpy("cancelled")[0])

    async def administrate(
        self,
        command: str,
        admin_key: str,
        *,
        level: int | None = None,
        lora_name: str | None = None,
        lora_path: str | None = None,
    ) -> dict[str, Any]:
        """As `ImageClient.administrate`."""
        inputs = admin_inputs(triton.InferInput, command, admin_key, level, lora_name, lora_path)
        try:
            response = await self._client.infer(ADMIN_MODEL, inputs)
        except InferenceServerException as error:
            raise from_triton(error) from error
        return parse_admin_state(response)

    async def describe(self) -> ModelDescription:
        """As `ImageClient.describe`."""
        try:
            response = await self._client.infer(
                DESCRIPTION_MODEL, [], outputs=[triton.InferRequestedOutput(DESCRIPTION_OUTPUT)]
            )
        except InferenceServerException as error:
            raise from_triton(error) from error
        return parse_description(response)

    async def close(self) -> None:
        """Close the connection; requests under way end with `Cancelled`."""
        await self._client.close()

    async def __aenter__(self) -> AsyncImageClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
