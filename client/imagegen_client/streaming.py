"""Streams over gRPC: progress and previews while images are being generated."""

from __future__ import annotations

import base64
import queue
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from contextlib import aclosing, closing, suppress
from dataclasses import dataclass
from typing import Any

import grpc
import numpy.typing as npt
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from imagegen_client.arguments import StreamArguments
from imagegen_client.errors import DeadlineExceeded, InternalError, ServerUnreachable, from_triton
from imagegen_client.results import GenerateResult, Outputs, output, parse_result
from imagegen_client.transport import CHANNEL_ARGUMENTS, id_headers, infer_options


@dataclass(frozen=True)
class Progress:
    """How far a request has come.

    Attributes:
        step: denoising steps that are done; of several images, those of the slowest.
        total_steps: steps in all; 0 while the request waits for its turn.
    """

    step: int
    total_steps: int


@dataclass(frozen=True)
class Preview:
    """A small preview of an image that is being generated.

    Attributes:
        image: an encoded small image, in the request's output format.
        preview_index: which of the image's previews, from 0.
        image_index: which of the n images, from 0.
        step: denoising steps done when it was made.
        total_steps: steps in all.
    """

    image: bytes
    preview_index: int
    image_index: int
    step: int
    total_steps: int


Event = Progress | Preview | GenerateResult


def stream_events(url: str, model: str, arguments: StreamArguments) -> Generator[Event, None, None]:
    """Send a request and yield what comes; closing the iterator cancels it.

    Raises:
        ImageGenerationError: one of the classes in `imagegen_client.errors`.
    """
    responses: queue.SimpleQueue[tuple[Any, InferenceServerException | None]] = queue.SimpleQueue()
    request = _request(model, arguments)
    # A connection of its own: a client of tritonclient has one stream at a time.
    with closing(triton.InferenceServerClient(url, channel_args=CHANNEL_ARGUMENTS)) as client:
        ended = False
        try:  # from here on: closing the client alone would wait for a stream that Ctrl-C left open
            client.start_stream(
                lambda result, error: responses.put((result, error)),
                arguments.timeout_s,
                id_headers(arguments.request_id),
            )
            with suppress(InferenceServerException):  # the stream has failed already: the responses say why
                client.async_stream_infer(**request)
            while True:
                try:
                    result, error = responses.get(timeout=arguments.timeout_s)
                except queue.Empty:
                    raise DeadlineExceeded(f"no response from {url} within timeout_s={arguments.timeout_s}") from None
                ended = error is not None or _is_completed(result)
                if error is not None:
                    raise from_triton(error) from error
                yield _parse_event(result, arguments)
                if ended:
                    return
        finally:
            # A stream that has come to its end is left to close by itself: to cancel it just then is a moment at which
            # Triton 24.10 corrupts its memory.
            client.stop_stream(cancel_requests=not ended)


async def stream_events_aio(
    client: triton_aio.InferenceServerClient, model: str, arguments: StreamArguments
) -> AsyncGenerator[Event, None]:
    """As `stream_events`, over a connection that several streams may share."""
    async with aclosing(_responses_aio(client, _request(model, arguments), arguments.timeout_s)) as responses:
        async for response in responses:
            yield _parse_event(response, arguments)


async def stream_tensors_aio(
    client: triton_aio.InferenceServerClient, model: str, arguments: StreamArguments, outputs: Sequence[str]
) -> AsyncGenerator[dict[str, npt.NDArray[Any]], None]:
    """As `stream_events_aio`, but each response as its output tensors by name, those that it has; nothing is decoded.

    Args:
        client: may have other streams open.
        model: the streaming model.
        arguments: the request.
        outputs: names of the output tensors to request; `event` must be one of them.
    """
    requested = [triton.InferRequestedOutput(name) for name in outputs]
    request = _request(model, arguments) | {"outputs": requested}
    async with aclosing(_responses_aio(client, request, arguments.timeout_s)) as responses:
        async for response in responses:
            arrays = ((name, response.as_numpy(name)) for name in outputs)
            yield {name: array for name, array in arrays if array is not None}


async def _responses_aio(
    client: triton_aio.InferenceServerClient, request: dict[str, Any], timeout_s: float | None = None
) -> AsyncGenerator[Outputs, None]:
    """Send a request to the streaming model and yield its responses; closing the iterator cancels it.

    Args:
        client: may have other streams open.
        request: the arguments of one `async_stream_infer`; the output `event` must be among those requested.
        timeout_s: longest time for all of it; None for no limit.

    Raises:
        ImageGenerationError: one of the classes in `imagegen_client.errors`.
    """

    async def requests() -> AsyncIterator[dict[str, Any]]:
        yield request

    responses = client.stream_infer(requests(), timeout_s, id_headers(request["request_id"]))
    ended = False
    try:
        async for result, error in responses:
            ended = error is not None or _is_completed(result)
            if error is not None:
                raise from_triton(error) from error
            yield result
        if not ended:
            raise InternalError("the stream ended without the images")
    except grpc.aio.AioRpcError as error:  # of the stream itself, not of the request in it
        if error.code() == grpc.StatusCode.UNAVAILABLE:
            raise ServerUnreachable(error.details() or "the connection was lost") from error
        raise from_triton(InferenceServerException(error.details(), str(error.code()))) from error
    finally:
        if ended:
            async for _ in responses:  # to its end, for the reason above
                pass
        else:
            responses.cancel()


def _request(model: str, arguments: StreamArguments) -> dict[str, Any]:
    return {"model_name": model, **infer_options(triton.InferInput, arguments)}


def _is_completed(outputs: Outputs) -> bool:
    event = outputs.as_numpy("event")
    return event is not None and event.tolist() == [b"completed"]


def _parse_event(outputs: Outputs, arguments: StreamArguments) -> Event:
    """One response of the stream.

    Raises:
        InternalError: it is not what this version of the client understands.
    """
    try:
        kind = bytes(output(outputs, "event")[0]).decode()
        if kind == "completed":
            return parse_result(outputs, arguments.response_format)
        step, total_steps = (int(output(outputs, name)[0]) for name in ("step", "total_steps"))
        if kind == "progress":
            return Progress(step, total_steps)
        image = bytes(output(outputs, "preview")[0])
        if arguments.response_format in ("b64_json", "url"):
            image = base64.b64decode(image, validate=True)
        preview_index, image_index = (int(output(outputs, name)[0]) for name in ("preview_index", "image_index"))
        return Preview(image, preview_index, image_index, step, total_steps)
    except (ValueError, IndexError) as error:
        raise InternalError(f"the server's response cannot be read: {error}") from error
