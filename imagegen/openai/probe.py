"""The request behind readiness: as little as the model can be asked for, of a task that it does."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

from PIL import Image

from imagegen_client import EDITING, INPAINTING, TASKS, TEXT_TO_IMAGE, ModelDescription

_SIDE_PX = 64  # with less, nothing would be left at the lowest level of a UNet


def probe_values(description: ModelDescription | None, steps: int) -> dict[str, Any]:
    """The public tensors of a probe, by name.

    Args:
        description: of the served model; None where the server does not tell, which is then asked for text-to-image.
        steps: of the denoising loop.
    """
    granularity_px = 1 if description is None else description.granularity_px
    side_px = -(-_SIDE_PX // granularity_px) * granularity_px
    values: dict[str, Any] = {
        "prompt": "readiness",
        "num_inference_steps": steps,
        "size": f"{side_px}x{side_px}",
        "response_format": "b64_json",
        "output_format": "jpeg",
    }
    task = TEXT_TO_IMAGE if description is None else next((t for t in TASKS if t in description.tasks), TEXT_TO_IMAGE)
    if description is None or task == TEXT_TO_IMAGE:
        return values
    if task == EDITING:
        reference_side_px = max(side_px, description.least_reference_px)
        return values | {"reference_image": _gradient(reference_side_px, reference_side_px)}
    input_side_px = side_px // description.upscaling
    values["image"] = _gradient(input_side_px, input_side_px)
    if task == INPAINTING:
        values["mask"] = _white(input_side_px, input_side_px)
    if "strength" in description.tasks[task]:
        values["strength"] = 1.0  # all of the steps, of which there are few
    return values


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
