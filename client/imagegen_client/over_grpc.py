"""The clients that speak gRPC: one connection each, kept open, shared by all requests."""

from __future__ import annotations

import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from imagegen_client.arguments import GenerateArguments, takes_arguments
from imagegen_client.errors import from_triton
from imagegen_client.results import GenerateResult, parse_result
from imagegen_client.transport import MODEL, checked_address, infer_options


class ImageClient:
    """Blocking, over gRPC; several threads may share one.

    Args:
        url: `host:port` of the server's gRPC endpoint.
        model: the name of the model to call.
    """

    def __init__(self, url: str = "localhost:8001", *, model: str = MODEL) -> None:
        self._model = model
        self._client = triton.InferenceServerClient(checked_address(url))

    @takes_arguments(GenerateArguments)
    def generate(self, arguments: GenerateArguments) -> GenerateResult:
        """Make pictures; the arguments are those of `GenerateArguments`.

        Raises:
            ImageGenerationError: one of the classes in `imagegen_client.errors`.
        """
        options = infer_options(triton.InferInput, arguments)
        try:
            answer = self._client.infer(self._model, client_timeout=arguments.timeout_s, **options)
        except InferenceServerException as error:
            raise from_triton(error) from error
        return parse_result(answer, arguments.response_format)

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
    """

    def __init__(self, url: str = "localhost:8001", *, model: str = MODEL) -> None:
        self._model = model
        self._client = triton_aio.InferenceServerClient(checked_address(url))

    @takes_arguments(GenerateArguments)
    async def generate(self, arguments: GenerateArguments) -> GenerateResult:
        """Make pictures; the arguments are those of `GenerateArguments`.

        Raises:
            ImageGenerationError: one of the classes in `imagegen_client.errors`.
        """
        options = infer_options(triton.InferInput, arguments)
        try:
            answer = await self._client.infer(self._model, client_timeout=arguments.timeout_s, **options)
        except InferenceServerException as error:
            raise from_triton(error) from error
        return parse_result(answer, arguments.response_format)

    async def close(self) -> None:
        """Close the connection; requests under way end with `Cancelled`."""
        await self._client.close()

    async def __aenter__(self) -> AsyncImageClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
