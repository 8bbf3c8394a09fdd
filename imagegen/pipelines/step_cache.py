"""What of a pipeline and its scheduler says that no step of a request can be forecast."""

from __future__ import annotations

from typing import Any

from imagegen.pipelines.classes import SWAPS_ATTENTION
from imagegen.pipelines.denoisers import denoisers_of
from imagegen.pipelines.step_cadence import LEAST_STEPS

_CAN_BE_LEFT_OUT = ("unet", "transformer", "controlnet")  # denoisers of pipelines with one loop

# Schedulers that call the model once a step, and whose noise levels are known (`imagegen.engine.noise_place` reads
# them). Heun's and KDPM2's call it twice; LCM's and TCD's are for models of few steps.
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
        return f"{kind} is not among the schedulers that it knows"
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
