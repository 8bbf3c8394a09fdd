"""A plan says which steps are computed, expects as many calls, and warns where a step cache was asked for in vain."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from imagegen.pipelines.checkpoint import Pipelines, describe_pipelines
from tests.unit import tiny_pipelines as tiny
from tests.unit.pipelines.test_plan import SETTINGS, pixels, plan


@cache
def loaded() -> Pipelines:
    return describe_pipelines(tiny.sd(), SETTINGS, torch.device("cpu"))


@pytest.mark.parametrize(
    ("step_cache", "interval", "calls"), [(None, 1, 30), ("off", 1, 30), ("fine", 2, 18), ("balanced", 3, 14)]
)
def test_computed_steps_are_the_calls_that_are_expected(step_cache: str | None, interval: int, calls: int) -> None:
    planned = plan(pipelines=loaded(), step_cache=step_cache, num_inference_steps=30)
    assert (planned.step_interval, planned.expected_calls, planned.steps_done) == (interval, calls, 30)
    assert planned.step_cache == (step_cache or "off")
    assert planned.warnings == ()


def test_the_deployment_may_set_the_default_and_the_intervals() -> None:
    settings = SETTINGS.model_copy(update={"default_step_cache": "fast", "step_cache_intervals": (2, 3, 4)})
    assert plan(pipelines=loaded(), settings=settings, num_inference_steps=30).step_interval == 4
    assert plan(pipelines=loaded(), settings=settings, num_inference_steps=30, step_cache="off").step_interval == 1


def test_only_what_the_request_asked_for_is_worth_a_warning() -> None:
    """A default that suits the usual request shall not have the others complain."""
    settings = SETTINGS.model_copy(update={"default_step_cache": "fine"})
    by_default = plan(pipelines=loaded(), settings=settings, num_inference_steps=4)
    assert (by_default.step_interval, by_default.warnings) == (1, ())
    asked = plan(pipelines=loaded(), settings=settings, num_inference_steps=4, step_cache="fine")
    assert (asked.step_interval, asked.step_cache) == (1, "off")
    assert asked.warnings == ("step_cache has no effect: 4 steps are too few; it takes 8 or more",)


def test_steps_that_an_image_leaves_out_are_not_counted() -> None:
    assert (
        plan(pixels(), pipelines=loaded(), step_cache="fast", num_inference_steps=20, strength=0.3).step_interval == 1
    )
    planned = plan(pixels(), pipelines=loaded(), step_cache="fine", num_inference_steps=20, strength=0.5)
    assert (planned.steps_done, planned.expected_calls) == (10, 8)


def test_the_scheduler_of_the_request_decides() -> None:
    planned = plan(pipelines=loaded(), scheduler="heun", step_cache="fine", num_inference_steps=20)
    assert planned.step_interval == 1
    assert "HeunDiscreteScheduler is not among the schedulers that it knows" in planned.warnings[0]
