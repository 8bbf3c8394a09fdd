"""What a request with a step cache gets from the engine: its report, its progress, its adapters' company."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from imagegen.api.errors import InvalidArgument
from imagegen.api.events import Preview, Progress
from imagegen.engine import Engine, GenerationResult
from imagegen.pipelines.previews import fit_projection
from tests.unit.tiny_engine import ENDLESS, TIMEOUT_S, Gate, image, mask, pipelines, tiny_engine


def test_the_report_says_how_many_steps_were_computed(engine: Engine, gate: Gate) -> None:
    result = engine.generate("a red cat", seed=1, n=2, num_inference_steps=20, step_cache="balanced")
    assert (result.statistics.num_inference_steps, result.statistics.computed_steps) == (20, 11)
    assert result.statistics.warnings == ()
    plain = engine.generate("a red cat", seed=1, n=2, num_inference_steps=20)
    assert plain.statistics.computed_steps == 20
    assert (result.statistics.step_cache, plain.statistics.step_cache) == ("balanced", "off")
    assert gate.steps >= 30
    assert result.frames.shape == plain.frames.shape


@pytest.mark.parametrize("scheduler", ["ddim", "ddpm", "deis", "dpmpp_2m", "dpmpp_sde", "euler", "euler_ancestral"])
def test_every_scheduler_is_taken(engine: Engine, scheduler: str) -> None:
    result = engine.generate("a cat", seed=1, num_inference_steps=12, step_cache="fast", scheduler=scheduler)
    assert (result.statistics.computed_steps, result.statistics.warnings) == (8, ())


def test_what_has_no_effect_is_said_and_changes_nothing(engine: Engine) -> None:
    asked = engine.generate("a cat", seed=1, num_inference_steps=10, step_cache="fast", scheduler="heun")
    plain = engine.generate("a cat", seed=1, num_inference_steps=10, scheduler="heun")
    assert (asked.statistics.computed_steps, asked.statistics.step_cache) == (10, "off")
    assert asked.statistics.warnings[0].startswith("step_cache has no effect: ")
    assert np.array_equal(asked.frames, plain.frames)


def test_other_tasks_have_it_too(engine: Engine) -> None:
    shared = {"seed": 1, "n": 2, "num_inference_steps": 20, "strength": 0.6, "step_cache": "balanced"}
    for options in ({"images": image()}, {"images": image(), "mask": mask()}):
        result = engine.generate("a cat", **shared, **options)  # type: ignore[arg-type]
        assert result.statistics.computed_steps == 8


def test_progress_comes_at_each_step(engine: Engine) -> None:
    events = list(engine.stream("a cat", seed=1, num_inference_steps=12, step_cache="fast"))
    assert [event.step for event in events if isinstance(event, Progress)] == list(range(1, 13))
    assert isinstance(events[-1], GenerationResult)
    assert events[-1].statistics.computed_steps == 8


def test_previews_come_where_they_come_without_forecasts() -> None:
    projection = fit_projection(pipelines().tasks["text-to-image"].pipeline)
    with tiny_engine(pipelines=replace(pipelines(), projection=projection)) as engine:
        options: dict[str, Any] = {"seed": 1, "num_inference_steps": 12, "partial_images": 3}
        steps = [
            [
                event.progress.step
                for event in engine.stream("a cat", **options, step_cache=name)
                if isinstance(event, Preview)
            ]
            for name in ("off", "fast")
        ]
    assert steps[0] == steps[1]
    assert len(steps[0]) == 3


def test_a_cancel_ends_the_work_with_the_step_under_way(engine: Engine, gate: Gate) -> None:
    stream = engine.stream("a cat", num_inference_steps=ENDLESS, step_cache="fast")
    assert isinstance(stream, Iterator)
    assert [next(stream) for _ in range(9)][-1] == Progress(9, ENDLESS)
    gate.close()
    assert gate.reached.wait(TIMEOUT_S)
    steps = gate.steps
    stream.close()  # type: ignore[attr-defined]
    gate.open()
    engine.close()
    assert gate.steps == steps


def test_another_name_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidArgument, match="'magic' is not one of off, fine, balanced, fast"):
        engine.generate("a cat", step_cache="magic")
