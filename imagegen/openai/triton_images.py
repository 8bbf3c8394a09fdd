"""One request to the streaming Triton model, and the events that it responds with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy.typing as npt

from imagegen.openai.served_model import ServedModel
from imagegen_client import (
    AsyncImageClient,
    ImageGenerationError,
    InternalError,
    ModelDescription,
    ServerUnreachable,
    StreamArguments,
)


@dataclass(frozen=True)
class Progress:
    """A denoising step is done: `step` of `total_steps`, which is 0 while the request waits for its turn."""

    step: int
    total_steps: int


@dataclass(frozen=True)
class Preview:
    """An early look at the image: `image` is base64 text, `index` counts the previews from 0."""

    image: bytes
    index: int


@dataclass(frozen=True)
class Completed:
    """The end: `images` are base64 texts or addresses, one for each of `seeds`; `metadata` is the server's report.

    `control_images` are those that were used, as `images` are handed over; none unless `return_control` asks for them.
    """

    images: list[bytes]
    seeds: list[int]
    metadata: dict[str, Any]
    control_images: tuple[bytes, ...] = ()


# Without `step` among them, the model sends no progress.
_OUTPUTS = ("event", "preview", "preview_index", "generated_image", "used_seed", "metadata")
_PROGRESS_OUTPUTS = ("step", "total_steps")
_CONTROL_OUTPUTS = ("used_control_image",)  # a server of an earlier release has not
_OFFER_TIMEOUT_S = 1.0

Event: TypeAlias = Progress | Preview | Completed


class TritonImages:
    """Asks a Triton server for images over one shared connection. To be made inside the event loop.

    Args:
        url: `host:port` of the server's gRPC endpoint.
        model: the streaming model.
        served_model: learns the checkpoint's name from each image, and what it does from `describe`.
    """

    def __init__(self, url: str, model: str, served_model: ServedModel) -> None:
        self._url = url
        self._model = model
        self._served_model = served_model
        self.reconnect()

    def reconnect(self) -> None:
        """Send later requests over a new connection; the old one closes by itself when its last stream has ended."""
        self._client = AsyncImageClient(self._url, stream_model=self._model)

    async def describe(self) -> ModelDescription | None:
        """What the served model can do; None where the server does not tell, as one of an earlier release.

        Raises:
            ServerUnreachable: it cannot be reached.
        """
        try:
            description = await self._client.describe()
        except ServerUnreachable:
            raise
        except ImageGenerationError:
            return None
        self._served_model.learn_description(description)
        return description

    async def learn_offer(self) -> None:
        """Let the served model know what is on offer now; where the server does not tell at once, nothing changes."""
        with suppress(ImageGenerationError, TimeoutError):
            async with asyncio.timeout(_OFFER_TIMEOUT_S):
                await self.describe()

    async def administrate(
        self,
        command: str,
        admin_key: str,
        level: int | None = None,
        *,
        lora_name: str | None = None,
        lora_path: str | None = None,
    ) -> dict[str, Any]:
        """Have the server do an administrator's command, and wait until it is done; the state of every engine.

        Raises:
            ImageGenerationError: the server refused it, failed or cannot be reached.
        """
        return await self._client.administrate(
            command, admin_key, level=level, lora_name=lora_name, lora_path=lora_path
        )

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
        given = {name: value for name, value in values.items() if value is not None}
        arguments = StreamArguments(**given, partial_images=partial_images, request_id=request_id, timeout_s=None)
        outputs = _OUTPUTS + (_PROGRESS_OUTPUTS if progress else ())
        if given.get("return_control"):
            outputs += _CONTROL_OUTPUTS
        async with aclosing(self._client.stream_tensors(arguments, outputs)) as responses:
            async for tensors in responses:
                event = _event(tensors)
                if isinstance(event, Completed):
                    self._served_model.learn(event.metadata)
                yield event

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()


def _event(tensors: Mapping[str, npt.NDArray[Any]]) -> Event:
    """One response of the stream.

    Raises:
        InternalError: it is not what this version of the frontend understands.
    """
    try:
        kind = bytes(tensors["event"][0])
        if kind == b"progress":
            return Progress(int(tensors["step"][0]), int(tensors["total_steps"][0]))
        if kind == b"preview":
            return Preview(bytes(tensors["preview"][0]), int(tensors["preview_index"][0]))
        images = [bytes(image) for image in tensors["generated_image"]]
        seeds = [int(seed) for seed in tensors["used_seed"]]
        controls = tuple(bytes(image) for image in tensors.get("used_control_image", ()))
        return Completed(images, seeds, json.loads(bytes(tensors["metadata"][0])), controls)
    except (ValueError, LookupError) as error:
        raise InternalError(f"the server's response cannot be read: {error}") from error
