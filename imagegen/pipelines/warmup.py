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

from imagegen.api.errors import InvalidArgument
from imagegen.api.input_images import InputImages
from imagegen.api.limits import check_size
from imagegen.api.request import ImageRequest
from imagegen.api.tensors import Pixels
from imagegen.pipelines.checkpoint import INPAINTING, TEXT_TO_IMAGE, Pipelines
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
    """A plan of one image for each size and the checkpoint's own task, then one for each other task.

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
    for task in others if found else ():
        yield _plan(task, min(found), pipelines, settings)


@contextmanager
def dropping_what_fails(plan: Plan, pipelines: Pipelines) -> Iterator[None]:
    """Within the block the warm-up of `plan` runs: what shows itself as impossible is not offered to requests.

    diffusers derives pipelines for further tasks from many a checkpoint, some of which cannot run. The task that a
    checkpoint was saved for has to.

    Args:
        plan: what is generated.
        pipelines: a derived task that fails is taken out of its `tasks`.

    Raises:
        ValueError: the checkpoint's own task fails; the message names the pipeline's class and what it raised.
    """
    try:
        yield
    except _MISUNDERSTANDINGS as error:
        if isinstance(error, _DEVICE_ERRORS):
            raise
        name = type(pipelines.tasks[plan.task].pipeline).__name__
        if plan.task == next(iter(pipelines.tasks)):
            raise ValueError(f"{name} is not served: its {plan.task} failed in the warm-up: {error!r}") from error
        _log.warning("no %s: %s failed in the warm-up", plan.task, name, exc_info=error)
        del pipelines.tasks[plan.task]


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


def _plan(task: str, size: tuple[int, int], pipelines: Pipelines, settings: PipelineSettings) -> Plan:
    images = mask = None
    if task != TEXT_TO_IMAGE:
        images = _gradient(size)[None]
    if task == INPAINTING:
        mask = np.full((1, size[1], size[0]), 255, dtype=np.uint8)
    strength = 1.0 if images is not None and "strength" in pipelines.tasks[task].accepts else None
    steps = few_steps(getattr(pipelines.tasks[task].pipeline, "scheduler", None), settings.max_num_inference_steps)
    request = ImageRequest(prompt="warmup", size=size, seeds=(0,), num_inference_steps=steps, strength=strength)
    return make_plan(request, InputImages(images, mask), pipelines, settings)


def _gradient(size: tuple[int, int]) -> Pixels:
    """uint8 [H, W, 3] with some structure: a flat image would hide NaNs of a half-precision VAE."""
    width, height = size
    across = np.linspace(0, 255, width, dtype=np.uint8)[None, :].repeat(height, axis=0)
    down = np.linspace(0, 255, height, dtype=np.uint8)[:, None].repeat(width, axis=1)
    return np.stack([across, down, across[::-1]], axis=-1)
