"""The cadence keeps its ends and its longest pause, and what cannot be forecast is refused by name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
)
from torch import nn

from imagegen.pipelines.step_cache import LEAST_STEPS, LONGEST_INTERVAL, computed_steps, is_computed, obstacle
from tests.unit import tiny_pipelines as tiny


def places(total: int, interval: int) -> str:
    """A sign for each step: C is computed, - is forecast."""
    return "".join("C" if is_computed(number, total, interval) else "-" for number in range(total))


@pytest.mark.parametrize(
    ("interval", "expected"),
    [(1, "CCCCCCCCCCCC"), (2, "CCC-C-C-C-CC"), (3, "CCC--C--C-CC"), (5, "CCC----C--CC")],
)
def test_the_first_three_the_last_two_and_one_of_so_many_are_computed(interval: int, expected: str) -> None:
    assert places(12, interval) == expected
    assert computed_steps(12, interval) == expected.count("C")


@pytest.mark.parametrize("interval", range(1, LONGEST_INTERVAL + 1))
def test_no_pause_is_longer_than_four_steps(interval: int) -> None:
    for total in range(1, 120):
        signs = places(total, interval)
        assert "-" * interval not in signs
        assert signs[:3] == "CCC"[:total]
        assert signs[-2:] == "CC"[:total]


def test_fifty_steps_take_twenty_seven_twenty_and_fourteen_forwards() -> None:
    assert [computed_steps(50, interval) for interval in (1, 2, 3, 5)] == [50, 27, 20, 14]


def test_the_least_number_of_steps_saves_something() -> None:
    assert computed_steps(LEAST_STEPS, 2) < LEAST_STEPS


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
        ({}, HeunDiscreteScheduler(), 20, "HeunDiscreteScheduler calls the model in an order of its own"),
        ({}, LCMScheduler(), 20, "LCMScheduler calls"),
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
