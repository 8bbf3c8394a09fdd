"""The input images of a request against what the checkpoint takes, and the size that they give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from imagegen.api.conditions import check_controls, check_references
from imagegen.api.errors import InvalidArgument
from imagegen.api.input_images import InputImages
from imagegen.api.limits import check_size, fit_within
from imagegen.api.request import ImageRequest
from imagegen.api.tasks import check_task
from imagegen.api.tensors import Pixels
from imagegen.pipelines.checkpoint import Pipelines, TaskPipeline
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
    only = next(iter(pipelines.controls.types))
    return tuple(
        PlannedControl(choice.type or only, choice.scale, choice.end, image)
        for choice, image in zip(request.controls, given.controls, strict=True)
    )


def controlled_pipeline(task: str, controls: Sequence[PlannedControl], pipelines: Pipelines) -> TaskPipeline:
    """The pipeline of a task that the checkpoint does, with these controls.

    Raises:
        InvalidArgument: no pipeline takes them together, or not so.
    """
    names = tuple(control.type for control in controls)
    found = pipelines.pipeline_of(task, names)
    if found is None:
        kinds = {name: pipelines.controls.types[name].kind for name in names}
        if len(set(kinds.values())) > 1:
            said = ", ".join(f"{name} is a {kind}" for name, kind in kinds.items())
            raise InvalidArgument("control_type", f"these cannot be combined: {said}; one kind a request is allowed")
        raise InvalidArgument("control_type", f"the model {pipelines.name} takes no {names[0]} for {task}")
    takes = found.row.control
    if takes is None:
        return found
    if len(controls) > 1:
        several = takes.several is not None or pipelines.controls.types[names[0]].mode is not None
        if not several:
            raise InvalidArgument("control_image", f"{len(controls)} images; {names[0]} is used alone")
        if takes.end_for_all and len({control.end for control in controls}) > 1:
            raise InvalidArgument("control_end", f"those of {' and '.join(names)} end together; give one value for all")
    if takes.end is None and min(control.end for control in controls) < 1:
        raise InvalidArgument("control_end", f"{names[0]} counts to the end")
    return found


def planned_size(
    request: ImageRequest, given: InputImages, pipelines: Pipelines, settings: PipelineSettings
) -> tuple[int, int]:
    """(width, height) in pixels: as asked for, or that of the image that size "auto" follows.

    Raises:
        InvalidArgument: the image that it follows is too small.
    """
    if request.size is not None:
        return request.size
    takes = pipelines.tasks[given.task].row.references
    if takes is not None and given.references:
        followed = given.references[takes.size_of]
        if not takes.keeps_size:
            return _at_native_area(followed.shape[1], followed.shape[0], pipelines, settings)
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


def _at_native_area(width: int, height: int, pipelines: Pipelines, settings: PipelineSettings) -> tuple[int, int]:
    """(width, height) in pixels of about the model's native area, and of these proportions."""
    native_width, native_height = pipelines.native_size
    scale = math.sqrt(native_width * native_height / (width * height))
    grain = pipelines.granularity_px
    sides = (max(grain, round(side * scale / grain) * grain) for side in (width, height))
    return fit_within((next(sides), next(sides)), settings, grain)
