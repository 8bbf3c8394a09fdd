"""What is generated before a checkpoint counts as ready: its own task at every size, each other one at the smallest.

The first forwards of a shape are slow (kernels are chosen, code is compiled, memory is taken) and may fail; during
warm-up they fail the load instead of a request. What only another task needs (an encoder, a mask) is proved once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from imagegen.api.controls import ControlChoice
from imagegen.api.errors import InvalidArgument
from imagegen.api.input_images import InputImages
from imagegen.api.limits import check_size
from imagegen.api.request import ImageRequest
from imagegen.api.tensors import Pixels
from imagegen.pipelines.checkpoint import EDITING, IMAGE_TO_IMAGE, INPAINTING, Pipelines
from imagegen.pipelines.controls import Controls
from imagegen.pipelines.plan import Plan, make_plan
from imagegen.pipelines.scheduler_trial import few_steps
from imagegen.pipelines.settings import PipelineSettings

_NONE = "none"
_CPU_SIDES_PX = (64, 256)  # with less than 64, nothing would be left at the lowest level of a UNet
# What a pipeline raises that is called in a way it does not understand. A RuntimeError is torch's for shapes.
_MISUNDERSTANDINGS = (TypeError, ValueError, AttributeError, LookupError, NotImplementedError, RuntimeError)
_DEVICE_ERRORS = (torch.OutOfMemoryError, torch.AcceleratorError)  # kinds of RuntimeError

_log = logging.getLogger(__name__)


def warmup_plans(pipelines: Pipelines, settings: PipelineSettings, sizes: Sequence[str]) -> Iterator[Plan]:
    """A plan of one image for each size and the checkpoint's own task, then one for each other task and each control.

    Args:
        pipelines: the loaded checkpoint.
        settings: its defaults and limits.
        sizes: as for `warmup_sizes`.

    Raises:
        ValueError: a size is malformed or not allowed.
    """
    own, *others = pipelines.tasks
    found = warmup_sizes(pipelines, settings, sizes)
    for size in found:
        yield _plan(own, size, pipelines, settings)
    if found:
        smallest = min(found)
        for task in others:
            yield _plan(task, smallest, pipelines, settings)
        for task, control in _controlled(pipelines.controls):
            kind = pipelines.controls.types[control].kind
            if task in pipelines.tasks and (task, kind) in pipelines.controls.pipelines:
                yield _plan(task, smallest, pipelines, settings, control)


def _controlled(controls: Controls) -> Iterator[tuple[str, str]]:
    """Tasks with a control type: every network once, for the first of its tasks, and one for each further task."""
    seen: set[int] = set()
    first: dict[str, str] = {}
    for name, control in controls.types.items():
        if id(control.network) not in seen:
            seen.add(id(control.network))
            first.setdefault(control.kind, name)
            yield next(task for task, kind in controls.pipelines if kind == control.kind), name
    begun: set[str] = set()
    for task, kind in list(controls.pipelines):
        if kind in begun:
            yield task, first[kind]
        begun.add(kind)


@contextmanager
def dropping_what_fails(plan: Plan, pipelines: Pipelines) -> Iterator[None]:
    """Within the block the warm-up of `plan` runs: what shows itself as impossible is not offered to requests.

    diffusers derives pipelines for further tasks from many a checkpoint, some of which cannot run. The task that a
    checkpoint was saved for has to.

    Args:
        plan: what is generated.
        pipelines: a derived task that fails is taken out of its `tasks`, or of those that take controls.

    Raises:
        ValueError: the checkpoint's own task fails, or a control network for the first of its tasks; the message names
            the pipeline's class and what it raised.
    """
    try:
        yield
    except _MISUNDERSTANDINGS as error:
        if isinstance(error, _DEVICE_ERRORS):
            raise
        if plan.controls:
            _drop_controlled(plan, pipelines, error)
            return
        name = type(pipelines.tasks[plan.task].pipeline).__name__
        if plan.task == next(iter(pipelines.tasks)):
            raise ValueError(f"{name} is not served: its {plan.task} failed in the warm-up: {error!r}") from error
        _log.warning("no %s: %s failed in the warm-up", plan.task, name, exc_info=error)
        del pipelines.tasks[plan.task]


def _drop_controlled(plan: Plan, pipelines: Pipelines, error: Exception) -> None:
    """Offer no controls for a task that failed with one; see `dropping_what_fails`."""
    (control,) = plan.controls
    key = plan.task, pipelines.controls.types[control.type].kind
    name = type(pipelines.controls.pipelines[key].pipeline).__name__
    if key[0] == next(task for task, kind in pipelines.controls.pipelines if kind == key[1]):
        raise ValueError(
            f"parameter controlnets: {control.type} does not fit: {name} failed in the warm-up: {error!r}"
        ) from error
    _log.warning("no controls for %s: %s failed in the warm-up", plan.task, name, exc_info=error)
    del pipelines.controls.pipelines[key]


def warmup_sizes(pipelines: Pipelines, settings: PipelineSettings, sizes: Sequence[str]) -> list[tuple[int, int]]:
    """The sizes to warm up, (width, height) in pixels.

    Args:
        pipelines: the loaded checkpoint.
        settings: its limits.
        sizes: as "512x512"; only "none" for no size at all; empty for the native size on a GPU, and on a CPU, where no
            kernel is chosen for a size, for two small ones that show what pixels cost.

    Raises:
        ValueError: a size is malformed or not allowed.
    """
    if tuple(sizes) == (_NONE,):
        return []
    parsed = []
    for text in sizes:
        width, x, height = text.partition("x")
        if not (x and width.isdecimal() and height.isdecimal()):
            raise ValueError(f"parameter warmup_sizes: {text!r} is not WxH")
        parsed.append((int(width), int(height)))
    for size in parsed:
        try:
            check_size(size, settings, pipelines.granularity_px)
        except InvalidArgument as error:
            raise ValueError(f"parameter warmup_sizes: {error}") from error
    if parsed or pipelines.device.type != "cpu":
        return parsed or [pipelines.native_size]
    return sorted({_smaller(pipelines, side_px) for side_px in _CPU_SIDES_PX})


def _smaller(pipelines: Pipelines, side_px: int) -> tuple[int, int]:
    """The native size, or a square of about this side where that is smaller."""
    grain = pipelines.granularity_px
    side_px = -(-side_px // grain) * grain
    width, height = pipelines.native_size
    return (side_px, side_px) if side_px**2 < width * height else (width, height)


def _plan(
    task: str, size: tuple[int, int], pipelines: Pipelines, settings: PipelineSettings, control: str | None = None
) -> Plan:
    pipeline = pipelines.tasks[task] if control is None else pipelines.pipeline_of(task, (control,))
    assert pipeline is not None
    takes = pipeline.row.references
    reference_side_px = 0 if takes is None else takes.least_px
    given = InputImages(
        images=_gradient(size)[None] if task in (IMAGE_TO_IMAGE, INPAINTING) else None,
        mask=np.full((1, size[1], size[0]), 255, dtype=np.uint8) if task == INPAINTING else None,
        references=(_gradient((max(size[0], reference_side_px), max(size[1], reference_side_px))),)
        if task == EDITING
        else (),
        controls=None if control is None else _gradient(size)[None],
    )
    request = ImageRequest(
        prompt="warmup",
        size=size,
        seeds=(0,),
        num_inference_steps=few_steps(getattr(pipeline.pipeline, "scheduler", None), settings.max_num_inference_steps),
        strength=1.0 if given.images is not None and "strength" in pipeline.accepts else None,
        controls=() if control is None else (ControlChoice(control),),
    )
    return make_plan(request, given, pipelines, settings)


def _gradient(size: tuple[int, int]) -> Pixels:
    """uint8 [H, W, 3] with some structure: a flat image would hide NaNs of a half-precision VAE."""
    width, height = size
    across = np.linspace(0, 255, width, dtype=np.uint8)[None, :].repeat(height, axis=0)
    down = np.linspace(0, 255, height, dtype=np.uint8)[:, None].repeat(width, axis=1)
    return np.stack([across, down, across[::-1]], axis=-1)
