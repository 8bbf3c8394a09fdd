"""One request to the streaming Triton model, and the events that it answers with."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import tritonclient.grpc.aio as triton

from imagegen_client.arguments import GenerateArguments
from imagegen_client.errors import InternalError
from imagegen_client.results import Outputs, output
from imagegen_client.streaming import stream_answers_aio
from imagegen_client.transport import CHANNEL_ARGUMENTS, infer_options


@dataclass(frozen=True)
class Progress:
    """A denoising step is done; `step` of `total_steps`."""

    step: int
    total_steps: int


@dataclass(frozen=True)
class Preview:
    """An early look: `image` is base64 text, `index` counts from 0."""

    image: bytes
    index: int


@dataclass(frozen=True)
class Completed:
    """The end: `images` are base64 texts or addresses, one for each of `seeds`."""

    images: list[bytes]
    seeds: list[int]
    metadata: dict[str, Any]


# Without `step` among them, the model sends no progress.
_OUTPUTS = ("event", "preview", "preview_index", "generated_image", "used_seed", "metadata")
_PROGRESS_OUTPUTS = ("step", "total_steps")

Event: TypeAlias = Progress | Preview | Completed


class TritonImages:
    """Asks a Triton server for images over one shared connection. To be made inside the event loop.

    Args:
        url: `host:port` of the server's gRPC endpoint.
        model: the streaming model.
    """

    def __init__(self, url: str, model: str) -> None:
        self._client = triton.InferenceServerClient(url, channel_args=CHANNEL_ARGUMENTS)
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
        async with aclosing(stream_answers_aio(self._client, request)) as answers:
            async for answer in answers:
                yield _event(answer)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()


def _event(answer: Outputs) -> Event:
    try:
        kind = bytes(output(answer, "event")[0])
        if kind == b"progress":
            return Progress(int(output(answer, "step")[0]), int(output(answer, "total_steps")[0]))
        if kind == b"preview":
            return Preview(bytes(output(answer, "preview")[0]), int(output(answer, "preview_index")[0]))
        images = [bytes(image) for image in output(answer, "generated_image")]
        seeds = [int(seed) for seed in output(answer, "used_seed")]
        return Completed(images, seeds, json.loads(bytes(output(answer, "metadata")[0])))
    except (ValueError, IndexError) as error:
        raise InternalError(f"the server's answer cannot be read: {error}") from error
