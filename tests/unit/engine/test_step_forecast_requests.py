"""What a request with a step cache gets from the engine: its report, its progress, its adapters' company."""

from __future__ import annotations

import numpy as np
import pytest

from imagegen.api.errors import InvalidArgument
from imagegen.api.events import Progress
from imagegen.engine import Engine, GenerationResult
from tests.unit.tiny_engine import Gate, image, mask


def test_the_report_says_how_many_steps_were_computed(engine: Engine, gate: Gate) -> None:
    result = engine.generate("a red cat", seed=1, n=2, num_inference_steps=20, step_cache="balanced")
    assert (result.statistics.num_inference_steps, result.statistics.computed_steps) == (20, 11)
    assert result.statistics.warnings == ()
    plain = engine.generate("a red cat", seed=1, n=2, num_inference_steps=20)
    assert plain.statistics.computed_steps == 20
    assert gate.steps >= 30
    assert result.frames.shape == plain.frames.shape


@pytest.mark.parametrize("scheduler", ["ddim", "ddpm", "deis", "dpmpp_2m", "dpmpp_sde", "euler", "euler_ancestral"])
def test_every_scheduler_is_taken(engine: Engine, scheduler: str) -> None:
    result = engine.generate("a cat", seed=1, num_inference_steps=12, step_cache="fast", scheduler=scheduler)
    assert (result.statistics.computed_steps, result.statistics.warnings) == (8, ())


def test_what_has_no_effect_is_said_and_changes_nothing(engine: Engine) -> None:
    asked = engine.generate("a cat", seed=1, num_inference_steps=10, step_cache="fast", scheduler="heun")
    plain = engine.generate("a cat", seed=1, num_inference_steps=10, scheduler="heun")
    assert asked.statistics.computed_steps == 10
    assert asked.statistics.warnings[0].startswith("step_cache has no effect: ")
    assert np.array_equal(asked.frames, plain.frames)


def test_other_tasks_have_it_too(engine: Engine) -> None:
    shared = {"seed": 1, "num_inference_steps": 20, "strength": 0.6, "step_cache": "balanced"}
    for options in ({"images": image()}, {"images": image(), "mask": mask()}):
        result = engine.generate("a cat", **shared, **options)  # type: ignore[arg-type]
        assert result.statistics.computed_steps == 8


def test_progress_comes_at_each_step(engine: Engine) -> None:
    events = list(engine.stream("a cat", seed=1, num_inference_steps=12, step_cache="fast"))
    assert [event.step for event in events if isinstance(event, Progress)] == list(range(1, 13))
    assert isinstance(events[-1], GenerationResult)
    assert events[-1].statistics.computed_steps == 8


def test_another_name_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidArgument, match="'magic' is not one of off, fine, balanced, fast"):
        engine.generate("a cat", step_cache="magic")
