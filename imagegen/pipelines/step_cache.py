"""Which steps of a request's loop run the denoiser, and which take a forecast of its output from earlier steps.

    off        every step is computed
    fine       every 2nd, the first three and the last two beside
    balanced   every 3rd
    fast       every 5th

A cadence decides, never a value of the device: nobody waits for one, and the same request has the same steps computed
in any company.
"""

from __future__ import annotations

from typing import Any

from imagegen.pipelines.classes import SWAPS_ATTENTION
from imagegen.pipelines.denoisers import denoisers_of

LONGEST_INTERVAL = 5  # a request looks at its cancel where it computes: not for more than four steps
LEAST_STEPS = 8  # of which one or more can be left out

_FIRST, _LAST = 3, 2  # steps that are always computed: the output changes most there
_CAN_BE_LEFT_OUT = ("unet", "transformer", "controlnet")  # denoisers of pipelines with one loop

# Schedulers whose noise levels and order of calls are known (`imagegen.engine.noise_place` reads them).
_KNOWN = {
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "FlowMatchEulerDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
}


def is_computed(number: int, total: int, interval: int) -> bool:
    """Whether a step runs the denoiser.

    Args:
        number: of the step, from 0.
        total: steps of the loop.
        interval: one of so many is computed; 1 for all.
    """
    return number < _FIRST or number >= total - _LAST or (number - _FIRST + 1) % interval == 0


def computed_steps(total: int, interval: int) -> int:
    """How many steps of a loop run the denoiser."""
    return sum(is_computed(number, total, interval) for number in range(total))


def obstacle(pipeline: Any, scheduler: Any, steps: int) -> str | None:
    """Why no step of a request can be forecast; None where nothing speaks against it.

    Args:
        pipeline: of diffusers, of which the request gets a copy.
        scheduler: of the request.
        steps: that will be done.
    """
    family, kind = type(pipeline).__name__, type(scheduler).__name__
    modules = denoisers_of(pipeline)
    if steps < LEAST_STEPS:
        return f"{steps} step{'s are' if steps != 1 else ' is'} too few; it takes {LEAST_STEPS} or more"
    if kind not in _KNOWN:
        return f"{kind} calls the model in an order of its own"
    if kind == "PNDMScheduler" and not scheduler.config.skip_prk_steps:
        return "PNDMScheduler begins with four calls a step"
    if any(part in family for part in SWAPS_ATTENTION):
        return f"{family} changes the model's attention while it runs"
    if any(getattr(module, "is_cache_enabled", False) for module in modules.values()):
        return "the model has a cache between steps of its own"
    if any(name not in _CAN_BE_LEFT_OUT for name in modules) or _has_further_schedulers(pipeline):
        return f"{family} has more than one denoising loop"
    return None


def _has_further_schedulers(pipeline: Any) -> bool:
    """Whether there is one beside `scheduler`."""
    parts = vars(pipeline).items()
    return any("scheduler" in name and name != "scheduler" and value is not None for name, value in parts)
