"""What cannot be forecast is refused by name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchHeunDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
)
from torch import nn

from imagegen.pipelines.step_cache import obstacle
from imagegen.pipelines.step_cadence import LEAST_STEPS
from tests.unit import tiny_pipelines as tiny


def pipeline(name: str = "AnyPipeline", **parts: Any) -> Any:
    made = type(name, (), {})()
    vars(made).update(parts)
    return made


CACHED = nn.Linear(1, 1)
CACHED.is_cache_enabled = True  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("made", "scheduler", "steps", "reason"),
    [
        ({}, DDIMScheduler(), 7, "7 steps are too few; it takes 8 or more"),
        ({}, DDIMScheduler(), 1, "1 step is too few; it takes 8 or more"),
        ({}, HeunDiscreteScheduler(), 20, "HeunDiscreteScheduler is not among the schedulers that it knows"),
        ({}, LCMScheduler(), 20, "LCMScheduler is not among"),
        ({}, KDPM2DiscreteScheduler(), 20, "KDPM2DiscreteScheduler is not among"),
        ({}, FlowMatchHeunDiscreteScheduler(), 20, "FlowMatchHeunDiscreteScheduler is not among"),
        ({}, PNDMScheduler(), 20, "PNDMScheduler begins with four calls a step"),
        ({"name": "AnyPAGPipeline"}, DDIMScheduler(), 20, "AnyPAGPipeline changes the model's attention"),
        ({"transformer": CACHED}, DDIMScheduler(), 20, "a cache between steps of its own"),
        ({"prior": nn.Linear(1, 1)}, DDIMScheduler(), 20, "more than one denoising loop"),
        ({"prior_scheduler": object()}, DDIMScheduler(), 20, "more than one denoising loop"),
    ],
)
def test_what_cannot_be_forecast_is_refused(made: dict[str, Any], scheduler: Any, steps: int, reason: str) -> None:
    found = obstacle(pipeline(**made), scheduler, steps)
    assert found is not None
    assert reason in found


@pytest.mark.parametrize(
    "scheduler",
    [
        DDIMScheduler(),
        PNDMScheduler(skip_prk_steps=True),
        DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++"),
    ],
)
def test_nothing_speaks_against_the_usual_ones(scheduler: Any) -> None:
    assert obstacle(tiny.sd(), scheduler, LEAST_STEPS) is None
    assert obstacle(tiny.sd_controlnet(), scheduler, LEAST_STEPS) is None
    assert obstacle(SimpleNamespace(scheduler=scheduler, transformer=nn.Linear(1, 1)), scheduler, 50) is None
