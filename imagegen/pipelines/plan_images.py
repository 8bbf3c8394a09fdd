"""The input images of a request against what the checkpoint takes, and the size that they give."""

from __future__ import annotations

from dataclasses import dataclass

from imagegen.api.conditions import check_controls, check_references
from imagegen.api.errors import InvalidArgument
from imagegen.api.input_images import InputImages
from imagegen.api.limits import check_size, fit_within
from imagegen.api.request import ImageRequest
from imagegen.api.tasks import check_task
from imagegen.api.tensors import Pixels
from imagegen.pipelines.checkpoint import Pipelines
from imagegen.pipelines.settings import PipelineSettings


@dataclass(frozen=True, eq=False)
class PlannedControl:
    """A control of a request.

    Attributes:
        type: what its image shows, one of the types of the checkpoint's controls.
        scale: how strongly it counts, 0..2.
        end: until which part of the steps it counts, above 0, up to 1.
        image: uint8 [H, W, 3].
    """

    type: str
    scale: float
    end: float
    image: Pixels


def check_images(request: ImageRequest, given: InputImages, pipelines: Pipelines) -> str:
    """The task of a request with these input images.

    Raises:
        InvalidArgument: names the input that the checkpoint does not take, or not so.
    """
    images, mask = given.images, given.mask
    if mask is not None and images is None:
        raise InvalidArgument("mask", "given without image; a mask says which part of an image to repaint")
    for name, pixels in (("image", images), ("control_image", given.controls)):
        if pixels is not None and not pixels.size:
            raise InvalidArgument(name, f"shape {list(pixels.shape)} has no pixels; every side is 1 or more")
    task = given.task
    check_task(task, pipelines.tasks, pipelines.name)
    if images is not None and len(images) not in (1, request.n):
        raise InvalidArgument("image", f"{len(images)} images; give 1, or one for each of the n={request.n} images")
    if mask is not None and images is not None and mask.shape[1:] != images.shape[1:3]:
        raise InvalidArgument("mask", "its size differs from the image's; both must be the same")
    takes = pipelines.conditions
    check_references([each.shape[1::-1] for each in given.references], takes, pipelines.name)
    check_controls(request.controls, task, takes, pipelines.name)
    return task


def planned_controls(request: ImageRequest, given: InputImages, pipelines: Pipelines) -> tuple[PlannedControl, ...]:
    """The controls of a request whose images have been checked, each with its image and the type that it means."""
    if given.controls is None:
        return ()
    (only, *_) = pipelines.conditions.control_types
    return tuple(
        PlannedControl(choice.type or only, choice.scale, choice.end, image)
        for choice, image in zip(request.controls, given.controls, strict=True)
    )


def planned_size(
    request: ImageRequest, given: InputImages, pipelines: Pipelines, settings: PipelineSettings
) -> tuple[int, int]:
    """(width, height) in pixels: as asked for, or that of the image that size "auto" follows.

    Raises:
        InvalidArgument: the image that it follows is too small.
    """
    if request.size is not None:
        return request.size
    if given.references:
        followed = given.references[pipelines.conditions.size_of_reference]
    elif given.images is not None:
        followed = given.images[0]
    elif given.controls is not None:
        followed = given.controls[0]
    else:
        return pipelines.native_size
    height, width = followed.shape[:2]
    factor = pipelines.upscaling
    size = fit_within((width * factor, height * factor), settings, pipelines.granularity_px)
    check_size(size, settings, pipelines.granularity_px)
    return size
