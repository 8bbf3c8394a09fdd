"""The schedulers a request may choose by name, built for one checkpoint."""

from __future__ import annotations

import inspect
import warnings
from contextlib import suppress
from typing import Any

import diffusers

from imagegen.pipelines.scheduler_trial import fits

# Karras-style schedulers share one parametrisation, so each can be built from the configuration of another
# (`compatibles` of diffusers lists them). Flow matching models fit their own kind alone.
_CLASSES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "ddim": (("DDIMScheduler",), {}),
    "ddpm": (("DDPMScheduler",), {}),
    "deis": (("DEISMultistepScheduler",), {"algorithm_type": "deis"}),
    "dpmpp_2m": (("DPMSolverMultistepScheduler",), {"algorithm_type": "dpmsolver++"}),
    "dpmpp_sde": (("DPMSolverMultistepScheduler",), {"algorithm_type": "sde-dpmsolver++"}),
    "euler": (("EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"), {}),
    "euler_ancestral": (("EulerAncestralDiscreteScheduler",), {}),
    "heun": (("HeunDiscreteScheduler",), {}),
    "lcm": (("LCMScheduler",), {}),
    "pndm": (("PNDMScheduler",), {"skip_prk_steps": True}),  # as Stable Diffusion's own; else it fails below 4 steps
    "unipc": (("UniPCMultistepScheduler",), {}),
}

CLASS_NAMES = frozenset(name for names, _ in _CLASSES.values() for name in names)
"""The classes of diffusers that a request may choose among."""


def fitting_schedulers(scheduler: Any, most_steps: int) -> dict[str, Any]:
    """Schedulers that fit a pipeline, by their public name, each to be deep-copied per image.

    Those that cannot do `most_steps` steps with this checkpoint's configuration are left out.

    Args:
        scheduler: the checkpoint's own scheduler; the one of its name is this very object, whatever it can do.
        most_steps: cap of a request's num_inference_steps.
    """
    fitting: dict[str, Any] = {}
    compatible = {kind for kind in getattr(scheduler, "compatibles", []) if _same_noise(scheduler, kind)}
    for name, (class_names, changes) in _CLASSES.items():
        for scheduler_class in (getattr(diffusers, class_name) for class_name in class_names):
            if type(scheduler) is scheduler_class and all(scheduler.config.get(k) == v for k, v in changes.items()):
                fitting[name] = scheduler
            elif scheduler_class in compatible or (type(scheduler) is scheduler_class and changes):
                with warnings.catch_warnings(), suppress(NotImplementedError):  # a noise schedule that it does not know
                    warnings.simplefilter("ignore")  # settings that it does not have
                    built = scheduler_class.from_config(scheduler.config, **changes)
                    if fits(built, most_steps):
                        fitting[name] = built
    return fitting


def _same_noise(scheduler: Any, kind: Any) -> bool:
    """Whether the class `kind` can follow flow matching where `scheduler` is set to, as in Sana's checkpoints."""
    return not scheduler.config.get("use_flow_sigmas") or "use_flow_sigmas" in inspect.signature(kind).parameters
