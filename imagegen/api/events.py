"""Events of a request while it is being generated, and how they are written for the side channel."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_MAX_NUMBER = 10**6


@dataclass(frozen=True)
class Progress:
    """A request has come this far.

    Attributes:
        step: steps of the denoising loop that are done; of several images, those of the slowest.
        total_steps: steps of the whole loop.
    """

    step: int
    total_steps: int


@dataclass(frozen=True, eq=False)
class Preview:
    """A small preview of an image that is being generated.

    Attributes:
        progress: when it was made.
        preview_index: which of the image's previews, from 0.
        image_index: which of the request's images, from 0.
        size: (width, height) of the image in pixels.
        pixels: uint8 RGB [h, w, 3], a pixel for each place of the latents.
    """

    progress: Progress
    preview_index: int
    image_index: int
    size: tuple[int, int]
    pixels: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Ended:
    """Nothing follows for this request."""


Event = Progress | Preview | Ended


def encode_event(event: Event) -> tuple[bytes, bytes]:
    """The header (JSON) and the pixels of an event, empty where it has none."""
    if isinstance(event, Preview):
        header = {
            "progress": [event.progress.step, event.progress.total_steps],
            "preview": [event.preview_index, event.image_index],
            "size": event.size,
            "shape": event.pixels.shape[:2],
        }
        return json.dumps(header).encode(), event.pixels.tobytes()
    if isinstance(event, Progress):
        return json.dumps({"progress": [event.step, event.total_steps]}).encode(), b""
    return b"{}", b""


def decode_event(header: bytes, pixels: bytes) -> Event:
    """The event.

    Raises:
        ValueError, TypeError, KeyError, RecursionError: it is none.
    """
    fields = json.loads(header)
    if not isinstance(fields, dict):
        raise ValueError
    if not fields:
        return Ended()
    progress = Progress(*_two(fields["progress"]))
    if "preview" not in fields:
        return progress
    height, width = _two(fields["shape"])
    image = np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
    preview_index, image_index = _two(fields["preview"])
    if not image.size or 0 in _two(fields["size"]):
        raise ValueError
    return Preview(progress, preview_index, image_index, _two(fields["size"]), image)


def _two(value: Any) -> tuple[int, int]:
    first, second = value
    if not (type(first) is type(second) is int and 0 <= first <= _MAX_NUMBER and 0 <= second <= _MAX_NUMBER):
        raise ValueError
    return first, second
