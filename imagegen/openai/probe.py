"""The request behind readiness: as little as the model can be asked for, of a task that it does."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

from PIL import Image

from imagegen_client import INPAINTING, TASKS, TEXT_TO_IMAGE, ModelDescription

_FALLBACK_SIDE_PX = 512  # of an image for a model whose native size is not understood


def probe_values(description: ModelDescription | None, steps: int, size: str) -> dict[str, Any]:
    """The public tensors of a probe, by name.

    Args:
        description: of the served model; None where the server does not tell, which is then asked for text-to-image.
        steps: of the denoising loop.
        size: "WxH" or "auto".
    """
    values: dict[str, Any] = {
        "prompt": "readiness",
        "num_inference_steps": steps,
        "size": size,
        "response_format": "b64_json",
        "output_format": "jpeg",
    }
    task = TEXT_TO_IMAGE if description is None else next((t for t in TASKS if t in description.tasks), TEXT_TO_IMAGE)
    if description is None or task == TEXT_TO_IMAGE:
        return values
    width, height = (side // description.upscaling for side in _pixels(description, size))
    values["image"] = _gradient(width, height)
    if task == INPAINTING:
        values["mask"] = _white(width, height)
    if "strength" in description.tasks[task]:
        values["strength"] = 1.0  # all of the steps, of which there are few
    return values


def _pixels(description: ModelDescription, size: str) -> tuple[int, int]:
    width, _, height = (description.native_size if size == "auto" else size).partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        return _FALLBACK_SIDE_PX, _FALLBACK_SIDE_PX
    return int(width), int(height)


@lru_cache(maxsize=2)
def _gradient(width: int, height: int) -> bytes:
    """A PNG with some structure, and small all the same."""
    down = Image.linear_gradient("L").resize((width, height))
    across = Image.linear_gradient("L").rotate(90).resize((width, height))
    return _png(Image.merge("RGB", (down, across, down)))


@lru_cache(maxsize=2)
def _white(width: int, height: int) -> bytes:
    """A mask that repaints everything."""
    return _png(Image.new("L", (width, height), 255))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
