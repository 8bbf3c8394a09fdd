"""Follows the denoising loop of an unmodified pipeline, step by step, whatever its family.

Every pipeline of diffusers calls its scheduler once a step, and each image has a scheduler of its own. So that is
where to look: callbacks of pipelines differ by family, and some have none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

_PREDICTS_CLEAN = ("dpmsolver++", "sde-dpmsolver++")


@dataclass(frozen=True)
class Step:
    """One step that is done.

    Attributes:
        number: from 1.
        total: steps of the whole loop.
        latents: what the image would be if the loop ended here, as well as the scheduler knows: the predicted clean
            latents, or else the current ones; [1, ...] in the pipeline's own layout.
    """

    number: int
    total: int
    latents: Any


@contextmanager
def followed(scheduler: Any, on_step: Callable[[Step], None]) -> Iterator[None]:
    """A context in which `on_step` is called for each step of a scheduler that belongs to one image.

    It sets `step` on the object. Whoever does steps of several images as one has to leave that where it is.

    Args:
        scheduler: any scheduler of diffusers, or None for a pipeline without one: then it is never called.
        on_step: called after each step.
    """
    if scheduler is None:
        yield
        return
    step = scheduler.step
    number = total = 0

    @wraps(step)  # pipelines look at its signature
    def watched(model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal number, total
        if not number:
            total = _steps_from(scheduler, timestep)
        sigma = _flow_sigma(scheduler, timestep)
        result = step(model_output, timestep, sample, *args, **kwargs)
        number += 1
        total = max(total, number)
        on_step(Step(number, total, _best_latents(scheduler, result, model_output, sample, sigma)))
        return result

    scheduler.step = watched
    try:
        yield
    finally:
        del scheduler.step  # it refers to the scheduler: a cycle that would keep latents until garbage is collected


def _steps_from(scheduler: Any, timestep: Any) -> int:
    """How many steps there are from this timestep on; image-to-image begins in the middle."""
    timesteps = [float(value) for value in scheduler.timesteps]
    first = float(timestep if not getattr(timestep, "ndim", 0) else timestep.flatten()[0])
    return len(timesteps) - (timesteps.index(first) if first in timesteps else 0)


def _flow_sigma(scheduler: Any, timestep: Any) -> Any:
    """How much of the sample is noise before this step of flow matching; None for other schedulers."""
    if not hasattr(scheduler, "sigmas") or "FlowMatch" not in type(scheduler).__name__:
        return None
    if scheduler.step_index is None:
        scheduler._init_step_index(timestep)
    return scheduler.sigmas[scheduler.step_index]


def _best_latents(scheduler: Any, result: Any, model_output: Any, sample: Any, sigma: Any) -> Any:
    if sigma is not None:
        return sample - sigma * model_output
    values = tuple(result) if isinstance(result, tuple) else tuple(result.values())
    if len(values) > 1 and values[1] is not None:
        return values[1]
    if _keeps_clean_predictions(scheduler):
        return scheduler.model_outputs[-1]
    return values[0]


def _keeps_clean_predictions(scheduler: Any) -> bool:
    if getattr(scheduler, "model_outputs", None) is None or scheduler.model_outputs[-1] is None:
        return False
    return scheduler.config.get("algorithm_type") in _PREDICTS_CLEAN or bool(scheduler.config.get("predict_x0"))
