"""One request to the streaming Triton model, and the events that it answers with."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
import numpy as np
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from imagegen_client.arguments import GenerateArguments
from imagegen_client.errors import ImageGenerationError, InternalError, ServerUnreachable, from_triton
from imagegen_client.transport import infer_options


@dataclass(frozen=True)
class Progress:
    """A denoising step is done; `step` of `total_steps`."""

    step: int
    total_steps: int


@dataclass(frozen=True)
class Preview:
    """An early look: `picture` is base64 text, `index` counts from 0."""

    picture: bytes
    index: int


@dataclass(frozen=True)
class Completed:
    """The end: `pictures` are base64 texts or addresses, one for each of `seeds`."""

    pictures: list[bytes]
    seeds: list[int]
    metadata: dict[str, Any]


# Without `step` among them, the model sends no progress.
_OUTPUTS = ("event", "preview", "preview_index", "generated_image", "used_seed", "metadata")
_PROGRESS_OUTPUTS = ("step", "total_steps")

Event: TypeAlias = Progress | Preview | Completed


class TritonImages:
    """Asks a Triton server for pictures over one shared connection. To be made inside the event loop.

    Args:
        url: `host:port` of the server's gRPC endpoint.
        model: the streaming model.
    """

    def __init__(self, url: str, model: str) -> None:
        self._client = triton.InferenceServerClient(url)
        self._model = model

    async def events(
        self, values: Mapping[str, Any], partial_images: int, request_id: str, *, progress: bool = False
    ) -> AsyncGenerator[Event, None]:
        """What the server sends for a request. Leaving the iteration early cancels it on the server.

        Args:
            values: public tensors by name; None for absent.
            partial_images: how many previews to ask for.
            request_id: becomes Triton's.
            progress: whether to send progress too.

        Raises:
            ImageGenerationError: the server refused the request, failed or cannot be reached.
        """
        arguments = GenerateArguments(**{name: value for name, value in values.items() if value is not None})
        inputs = infer_options(triton.InferInput, arguments)["inputs"]
        inputs.append(triton.InferInput("partial_images", [1], "INT32"))
        inputs[-1].set_data_from_numpy(np.array([partial_images], dtype=np.int32))
        names = _OUTPUTS + _PROGRESS_OUTPUTS if progress else _OUTPUTS
        outputs = [triton.InferRequestedOutput(name) for name in names]
        request = {"model_name": self._model, "inputs": inputs, "outputs": outputs, "request_id": request_id}
        stream = self._client.stream_infer(_only(request))
        try:
            async for result, error in stream:
                if error is not None:
                    raise from_triton(error)
                yield _event(result)
        except grpc.aio.AioRpcError as error:
            raise _lost(error) from error
        except InferenceServerException as error:
            raise from_triton(error) from error
        finally:
            stream.cancel()  # nothing happens when it has ended

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()


async def _only(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield request


def _event(result: Any) -> Event:
    kind = _first(result, "event")
    if kind == b"progress":
        return Progress(int(_first(result, "step")), int(_first(result, "total_steps")))
    if kind == b"preview":
        return Preview(bytes(_first(result, "preview")), int(_first(result, "preview_index")))
    if kind == b"completed":
        pictures = [bytes(picture) for picture in result.as_numpy("generated_image")]
        seeds = [int(seed) for seed in result.as_numpy("used_seed")]
        return Completed(pictures, seeds, json.loads(bytes(_first(result, "metadata"))))
    raise InternalError(f"the server sent an event {kind!r}, which is not known")


def _first(result: Any, name: str) -> Any:
    array = result.as_numpy(name)
    if array is None or not array.size:
        raise InternalError(f"the server's answer lacks {name}")
    return array[0]


def _lost(error: grpc.aio.AioRpcError) -> ImageGenerationError:
    """The stream itself ended with an error, not the request in it."""
    if error.code() == grpc.StatusCode.UNAVAILABLE:
        return ServerUnreachable(error.details() or "")
    return from_triton(InferenceServerException(msg=error.details() or "", status=str(error.code())))
