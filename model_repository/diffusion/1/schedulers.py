"""The schedulers a request may choose by name, built for one checkpoint."""

from __future__ import annotations

import warnings
from typing import Any

import diffusers

# Karras-style schedulers share one parametrisation, so each can be built from the configuration of another
# (`compatibles` of diffusers lists them). Flow matching models fit their own kind alone.
_CLASSES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "ddim": (("DDIMScheduler",), {}),
    "ddpm": (("DDPMScheduler",), {}),
    "deis": (("DEISMultistepScheduler",), {}),
    "dpmpp_2m": (("DPMSolverMultistepScheduler",), {"algorithm_type": "dpmsolver++"}),
    "dpmpp_sde": (("DPMSolverMultistepScheduler",), {"algorithm_type": "sde-dpmsolver++"}),
    "euler": (("EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"), {}),
    "euler_ancestral": (("EulerAncestralDiscreteScheduler",), {}),
    "heun": (("HeunDiscreteScheduler",), {}),
    "lcm": (("LCMScheduler",), {}),
    "pndm": (("PNDMScheduler",), {}),
    "unipc": (("UniPCMultistepScheduler",), {}),
}


def fitting_schedulers(scheduler: Any) -> dict[str, Any]:
    """Schedulers that fit a pipeline, by their public name, each to be deep-copied per picture.

    Args:
        scheduler: the checkpoint's own scheduler; the one of its name is this very object.
    """
    fitting: dict[str, Any] = {}
    compatible = set(getattr(scheduler, "compatibles", []))
    for name, (class_names, changes) in _CLASSES.items():
        for scheduler_class in (getattr(diffusers, class_name) for class_name in class_names):
            if type(scheduler) is scheduler_class and all(scheduler.config.get(k) == v for k, v in changes.items()):
                fitting[name] = scheduler
            elif scheduler_class in compatible or (type(scheduler) is scheduler_class and changes):
                with warnings.catch_warnings():  # of settings that the other class does not have
                    warnings.simplefilter("ignore")
                    fitting[name] = scheduler_class.from_config(scheduler.config, **changes)
    return fitting
