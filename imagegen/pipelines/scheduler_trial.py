"""Whether a scheduler gets through its loop: tried on a toy latent, in milliseconds and without a model.

Some combinations of a class, a checkpoint's configuration and a number of steps raise in the middle of a request, or
end in values that are not numbers. Both depend on the noise schedule alone, so a toy shows them.
"""

from __future__ import annotations

import copy
import inspect
import json
import logging
import threading
import warnings
from typing import Any

import numpy as np
import torch
from cachetools import LRUCache, cached

_FEW_STEPS = (1, 2, 3, 4)  # where solvers of a higher order begin and end at once
_USUAL_FEW = 2
_SHAPE = (1, 3, 2, 2)  # three channels: solvers cut a learnt variance off behind the third
_SHIFT = 1.0  # of dynamic shifting, which pipelines compute from the size of an image
_TRIALS_KEPT = 4096  # more than schedulers times steps
_MOST_STEPS_AT_LOAD = 100  # 40 ms a scheduler; a request for more is tried when it comes

_log = logging.getLogger(__name__)


def _key(scheduler: Any, num_inference_steps: int) -> tuple[object, ...]:
    configuration = json.dumps(dict(scheduler.config), sort_keys=True, default=_as_json)
    return type(scheduler), configuration, num_inference_steps


@cached(LRUCache(_TRIALS_KEPT), key=_key, lock=threading.Lock())
def completes(scheduler: Any, num_inference_steps: int) -> bool:
    """Whether a loop of that many steps ends without an exception and in finite numbers.

    Args:
        scheduler: any of diffusers' schedulers; stays as it is, and is not to be changed later.
        num_inference_steps: 1 or more.
    """
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bool(_run(copy.deepcopy(scheduler), num_inference_steps).isfinite().all())
    except Exception as error:  # whatever it is, a request would meet it too
        _log.info("%s fails in %d steps: %r", type(scheduler).__name__, num_inference_steps, error)
        return False


def fits(scheduler: Any, most_steps: int) -> bool:
    """Whether a scheduler is worth offering: it completes with the largest number of steps.

    Args:
        scheduler: as for `completes`.
        most_steps: cap of a request's num_inference_steps.
    """
    original = scheduler.config.get("original_inference_steps")  # consistency models cannot do more
    return completes(scheduler, min(most_steps, _MOST_STEPS_AT_LOAD, int(original or most_steps)))


def can_be_tried(scheduler: Any, most_steps: int) -> bool:
    """Whether the toy says anything of a scheduler: False for one that is called in a way of its own."""
    return fits(scheduler, most_steps) or any(completes(scheduler, steps) for steps in _FEW_STEPS)


def few_steps(scheduler: Any, most_steps: int) -> int:
    """The number of steps for a quick proof of the whole loop: 2, where the scheduler can do them.

    Args:
        scheduler: as for `completes`, or None for a pipeline without one.
        most_steps: cap of a request's num_inference_steps.
    """
    usual = min(_USUAL_FEW, most_steps)
    if scheduler is None or completes(scheduler, usual):
        return usual
    return next((steps for steps in _FEW_STEPS if steps <= most_steps and completes(scheduler, steps)), usual)


def _run(scheduler: Any, num_inference_steps: int) -> torch.Tensor:
    """The latent after the whole loop, with noise for the model's predictions."""
    shifted = scheduler.config.get("use_dynamic_shifting") and _takes(scheduler.set_timesteps, "mu")
    scheduler.set_timesteps(num_inference_steps, **({"mu": _SHIFT} if shifted else {}))
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(_SHAPE, generator=generator) * float(getattr(scheduler, "init_noise_sigma", 1))
    options = {"generator": generator} if _takes(scheduler.step, "generator") else {}
    learnt_variance = str(scheduler.config.get("variance_type")).startswith("learned")
    for timestep in scheduler.timesteps:
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(latent, timestep)
        prediction = torch.randn(_SHAPE, generator=generator)
        if learnt_variance:
            prediction = torch.cat([prediction, torch.zeros(_SHAPE)], dim=1)
        latent = scheduler.step(prediction, timestep, latent, return_dict=False, **options)[0]
    return latent


def _as_json(value: Any) -> Any:
    return np.asarray(value).tolist()  # betas may be an array


def _takes(function: Any, name: str) -> bool:
    return name in inspect.signature(function).parameters
