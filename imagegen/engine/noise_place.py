"""Where a step stands in an image's noise schedule, and how what is forecast follows from the model's output there.

    x = alpha x0 + sigma eps      what a model is given; alpha^2 + sigma^2 = 1, or alpha + sigma = 1 of flow matching

All of it comes from the image's own scheduler, whose tables lie on the host. The timestep that a model is called with
says less: pipelines scale it, turn it round, or name a position among other sigmas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

_ADD_NOISE = ("DDPMScheduler", "EulerAncestralDiscreteScheduler")
_LEAST = 1e-5  # of alpha and sigma: there is no logarithm of 0


@dataclass(frozen=True)
class Place:
    """A step's noise level, and what is forecast there: of_sample * x + of_output * output.

    That is the noise (eps), which changes least from step to step. Where a scheduler adds fresh noise at each step, of
    which earlier ones know nothing, it is the clean image (x0).

    Attributes:
        log_snr: the logarithm of alpha^2 / sigma^2.
        of_sample: weight of the model's own input; 0 where the model predicts what is forecast, or something unknown.
        of_output: weight of the model's output.
    """

    log_snr: float
    of_sample: float = 0.0
    of_output: float = 1.0


def place_of(scheduler: Any, index: int) -> Place:
    """The place of a step.

    Args:
        scheduler: of diffusers, whose timesteps are set; of a class that `imagegen.pipelines.step_cache` knows.
        index: in its timesteps.
    """
    flow = "FlowMatch" in type(scheduler).__name__
    if hasattr(scheduler, "sigmas"):
        noise = float(scheduler.sigmas[index])
        if flow or scheduler.config.get("use_flow_sigmas"):
            alpha, sigma = 1 - noise, noise
        else:  # of noise beside a clean image of weight 1; the model is given both, scaled to a variance of 1
            alpha, sigma = 1 / math.hypot(noise, 1), noise / math.hypot(noise, 1)
    else:
        kept = float(scheduler.alphas_cumprod[int(scheduler.timesteps[index])])
        alpha, sigma = math.sqrt(kept), math.sqrt(1 - kept)
    alpha, sigma = max(alpha, _LEAST), max(sigma, _LEAST)
    kind = "flow_prediction" if flow else scheduler.config.get("prediction_type", "epsilon")
    weights = (_clean if _adds_noise(scheduler) else _noise)(kind, alpha, sigma)
    return Place(2 * math.log(alpha / sigma), *weights)


def _noise(kind: str, alpha: float, sigma: float) -> tuple[float, float]:
    """The weights that make eps of x and what a model of a kind predicts."""
    return {
        "v_prediction": (sigma, alpha),  # v = alpha eps - sigma x0
        "flow_prediction": (1.0, alpha),  # v = eps - x0
        "sample": (1 / sigma, -alpha / sigma),
    }.get(kind, (0.0, 1.0))


def _clean(kind: str, alpha: float, sigma: float) -> tuple[float, float]:
    """The weights that make x0."""
    return {
        "epsilon": (1 / alpha, -sigma / alpha),
        "v_prediction": (alpha, -sigma),
        "flow_prediction": (1.0, -sigma),
    }.get(kind, (0.0, 1.0))


def _adds_noise(scheduler: Any) -> bool:
    name, config = type(scheduler).__name__, scheduler.config
    if name == "DPMSolverMultistepScheduler":
        return str(config.get("algorithm_type")).startswith("sde-")
    return name in _ADD_NOISE or bool(config.get("stochastic_sampling"))


def first_index(scheduler: Any, timestep: Any) -> int:
    """Which of a scheduler's timesteps a loop begins with; a loop that starts from an image begins in the middle."""
    timesteps = [float(value) for value in scheduler.timesteps]
    first = float(timestep if not getattr(timestep, "ndim", 0) else timestep.flatten()[0])
    return timesteps.index(first) if first in timesteps else 0
