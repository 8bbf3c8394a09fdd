"""The images of a plan as arguments of a pipeline's call, on its device and in the form that its class takes."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from PIL import Image

from imagegen.api.tensors import Pixels
from imagegen.engine.family_rules import SCALE_DIMENSIONS
from imagegen.engine.transfer import to_device
from imagegen.pipelines.controls import ControlType
from imagegen.pipelines.pipeline_class import Control, Form, PipelineClass, References
from imagegen.pipelines.plan import Plan
from imagegen.pipelines.plan_images import PlannedControl

_LEAST_SIDE_PX = 32  # pipelines round sides down to whole tokens, of up to 16 pixels


def image_on_device(image: Pixels, size: tuple[int, int], device: torch.device) -> torch.Tensor:
    """uint8 [H, W, 3] to float32 [1, 3, height, width] in 0..1.

    Args:
        image: the pixels.
        size: (width, height) that it is scaled to.
        device: of the result.
    """
    tensor: torch.Tensor = to_device(_tensor(image), device).permute(2, 0, 1)[None].float().div(255)
    width, height = size
    if tensor.shape[-2:] == (height, width):
        return tensor
    resized = torch.nn.functional.interpolate(tensor, (height, width), mode="bicubic", antialias=True)
    return resized.clamp(0, 1)


def _tensor(pixels: Pixels) -> torch.Tensor:
    """The pixels as a tensor; of read-only ones a copy, since a tensor could be written to."""
    return torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())


def image_as_pil(image: Pixels, size: tuple[int, int]) -> Image.Image:
    """uint8 [H, W, 3] to a PIL image of `size`, (width, height), scaled as `image_on_device` does it."""
    if image.shape[1::-1] == size:
        return Image.fromarray(image)
    scaled = image_on_device(image, size, torch.device("cpu"))[0]
    return Image.fromarray(scaled.mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy())


def mask_on_host(mask: Pixels, size: tuple[int, int]) -> torch.Tensor:
    """uint8 [H, W] to float32 [1, 1, height, width], 1 = repaint, nothing in between; `size` is (width, height)."""
    tensor = _tensor(mask)[None, None].float().div(255)
    width, height = size
    if tensor.shape[-2:] != (height, width):
        tensor = torch.nn.functional.interpolate(tensor, (height, width), mode="nearest")
    return (tensor >= 0.5).float()


@dataclass(frozen=True, eq=False)
class StartImage:
    """What an image starts from.

    Attributes:
        image: float32 [1, 3, H, W] in 0..1 on the device, or None.
        mask: float32 [1, 1, H, W], 1 = repaint, on the device, or None.
        argument: the image in the form that the pipeline's class takes, or None.
        mask_argument: the mask where the pipeline wants it, or None.
        repaints_nothing: whether there is a mask that says so.
    """

    image: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    argument: Any = None
    mask_argument: torch.Tensor | None = None
    repaints_nothing: bool = False


def start_image(plan: Plan, index: int, row: PipelineClass, upscaling: int, device: torch.device) -> StartImage:
    """What image `index` of a plan starts from.

    Args:
        plan: the request.
        index: which of its images.
        row: of the pipeline's class.
        upscaling: how many times larger than its input image an image is.
        device: of the tensors.
    """
    if plan.images is None:
        return StartImage()
    width, height = plan.size
    given, size = plan.images[index % len(plan.images)], (width // upscaling, height // upscaling)
    image = image_on_device(given, size, device)
    argument: Any = image_as_pil(given, size) if row.image is Form.PIL else image
    if plan.mask is None:
        return StartImage(image, argument=argument)
    on_host = mask_on_host(plan.mask, plan.size)
    mask = to_device(on_host, device)
    # Beside a PIL image the pipeline multiplies the mask on the host.
    return StartImage(image, mask, argument, on_host if row.image is Form.PIL else mask, not on_host.any())


def reference_argument(
    references: Sequence[Pixels], takes: References, size: tuple[int, int], device: torch.device
) -> Any:
    """The references, uint8 [H, W, 3] each, in the form that the class takes; `size` is that of the image made."""
    if takes.form is Form.TENSOR_AT_SIZE:
        return image_on_device(_of_proportions(references[0], size), size, device)
    images = [Image.fromarray(reference) for reference in references]
    if takes.form is Form.PIL_OF_AREA:
        return _of_area(images[0], size[0] * size[1])
    return images if takes.form is Form.PIL_LIST else images[0]


def _of_proportions(image: Pixels, size: tuple[int, int]) -> Pixels:
    """The middle of an image uint8 [H, W, 3] that has the proportions of `size`, (width, height)."""
    height, width = image.shape[:2]
    kept_width = max(1, min(width, round(height * size[0] / size[1])))
    kept_height = max(1, min(height, round(width * size[1] / size[0])))
    top, left = (height - kept_height) // 2, (width - kept_width) // 2
    return image[top : top + kept_height, left : left + kept_width]


def _of_area(image: Image.Image, area_px: int) -> Image.Image:
    """The image scaled to about so many pixels, no side below that of a few tokens."""
    scale = math.sqrt(area_px / (image.width * image.height))
    width, height = (max(_LEAST_SIDE_PX, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _as_multiplied(scale: float, network: Any) -> float:
    """A scale as the network's dtype has it, in which the scales of a shared forward come: alone it is no other."""
    return float(torch.tensor(scale, dtype=network.dtype)) if type(network).__name__ in SCALE_DIMENSIONS else scale


def with_control_networks(pipeline: Any, control: Control, types: Sequence[ControlType]) -> Any:
    """A shallow copy of a pipeline that calls the networks of these types, one for each control of a request."""
    network = types[0].network
    if len(types) > 1 and control.several is not None:
        network = getattr(diffusers, control.several)([each.network for each in types])
    copied = copy.copy(pipeline)
    copied.__dict__[control.component] = network  # not setattr: it writes to the configuration, which is shared
    return copied


def control_arguments(
    controls: Sequence[PlannedControl],
    control: Control,
    types: Sequence[ControlType],
    size: tuple[int, int],
    device: torch.device,
) -> dict[str, Any]:
    """The arguments of a pipeline's call for its control images: plain values of one, lists of several.

    Args:
        controls: of the request.
        control: what the pipeline's class takes.
        types: of each control.
        size: (width, height) of the image made.
        device: of the images.
    """
    given: dict[str, list[Any]] = {
        control.image: [image_on_device(each.image, size, device) for each in controls],
        control.scale: [_as_multiplied(each.scale, type.network) for each, type in zip(controls, types, strict=True)],
    }
    if control.end is not None:
        given[control.end] = [each.end for each in controls[: 1 if control.end_for_all else None]]
    # Also several of which none has a number: Flux's pipelines from an image count networks by their numbers.
    if control.mode is not None and (len(types) > 1 or types[0].mode is not None):
        given[control.mode] = [each.mode for each in types]
    return {name: values[0] if len(values) == 1 else values for name, values in given.items()}
