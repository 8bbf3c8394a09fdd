"""Draws every task at the configured sizes before the model reports ready.

The first forwards of a shape are slow (kernels are chosen, code is compiled, memory is taken) and may fail; here they
fail the load instead of a request. We write nothing to disk, and torch locks the cache of its compiler, so any number
of instances may start at once.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from imagegen.api.limits import check_size
from imagegen.api.request import ImageRequest
from imagegen.engine.pipeline_call import Drawing
from imagegen.engine.settings import EngineSettings
from imagegen.pipelines.checkpoint import INPAINTING, TEXT_TO_IMAGE, Pipelines
from imagegen.pipelines.plan import Pixels, Plan, make_plan

_STEPS = 2
_NONE = "none"
_log = logging.getLogger(__name__)


def warm_up(offers: Pipelines, settings: EngineSettings, draw: Callable[[Plan], Sequence[Drawing]]) -> None:
    """Draw each task at each warmup size: one image, and as many as fill each row bucket.

    Args:
        offers: the loaded checkpoint.
        settings: its configuration.
        draw: draws a plan and returns its images, or raises.

    Raises:
        ValueError: a warmup size is malformed or not allowed. Whatever drawing raises.
    """
    for size in warmup_sizes(offers, settings):
        for task in offers.tasks:
            started_s = time.monotonic()
            plan = _plan(task, size, offers, settings)
            (drawing,) = draw(plan)
            rows = max(1, drawing.batch_rows // max(1, drawing.forwards))
            largest = (settings.max_batch_rows,) if offers.device.type == "cuda" else ()
            for bucket in settings.row_buckets or largest:
                draw(replace(plan, seeds=tuple(range(math.ceil(bucket / rows)))))
            _log.info("warm: %s at %dx%d in %.1f s", task, *size, time.monotonic() - started_s)


def warmup_sizes(offers: Pipelines, settings: EngineSettings) -> list[tuple[int, int]]:
    """The sizes to warm up, (width, height) in pixels.

    Raises:
        ValueError: a size is malformed or not allowed.
    """
    if settings.warmup_sizes == (_NONE,):
        return []
    sizes = []
    for text in settings.warmup_sizes:
        width, x, height = text.partition("x")
        if not (x and width.isdecimal() and height.isdecimal()):
            raise ValueError(f"parameter warmup_sizes: {text!r} is not WxH")
        sizes.append((int(width), int(height)))
    for size in sizes:
        check_size(size, settings, offers.granularity_px)
    return sizes or [offers.native_size]


def _plan(task: str, size: tuple[int, int], offers: Pipelines, settings: EngineSettings) -> Plan:
    images = mask = None
    if task != TEXT_TO_IMAGE:
        images = _gradient(size)[None]
    if task == INPAINTING:
        mask = np.full((1, size[1], size[0]), 255, dtype=np.uint8)
    strength = 1.0 if images is not None and "strength" in offers.tasks[task].accepts else None
    steps = min(_STEPS, settings.max_num_inference_steps)
    request = ImageRequest(prompt="warmup", size=size, seeds=(0,), num_inference_steps=steps, strength=strength)
    return make_plan(request, images, mask, offers, settings)


def _gradient(size: tuple[int, int]) -> Pixels:
    """uint8 [H, W, 3] with some structure: a flat image would hide NaNs of a half-precision VAE."""
    width, height = size
    across = np.linspace(0, 255, width, dtype=np.uint8)[None, :].repeat(height, axis=0)
    down = np.linspace(0, 255, height, dtype=np.uint8)[:, None].repeat(width, axis=1)
    return np.stack([across, down, across[::-1]], axis=-1)
