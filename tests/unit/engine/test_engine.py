"""The library from threads: results, streams, cancels, deadlines, fair waiting, and an end that forgets nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoint.random_checkpoint import make_checkpoint
from imagegen.api.errors import Cancelled, DeadlineExceeded, InvalidArgument, Unavailable
from imagegen.api.events import Preview, Progress
from imagegen.engine import Engine, GenerationResult
from imagegen.pipelines.previews import fit_projection
from tests.unit.tiny_engine import ENDLESS, SLOTS, TIMEOUT_S, Gate, levels, pipelines, tiny_engine, wait_until


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as made:
        yield made


Start = Callable[..., Future[GenerationResult]]


@pytest.fixture
def start(engine: Engine, pool: ThreadPoolExecutor) -> Start:
    """Generates on a thread of its own."""
    return lambda **options: pool.submit(engine.generate, "a red cat", **options)


def test_a_checkpoint_is_loaded_and_generates(tmp_path: Path) -> None:
    make_checkpoint(tmp_path)
    with Engine.load(tmp_path, default_num_inference_steps=2) as engine:
        engine.warm_up()
        result = engine.generate("a red cat", n=2, seed=5, size=(64, 64))
        assert result.frames.shape == (2, 64, 64, 3)
        assert result.seeds == (5, 6)
        statistics = result.statistics
        assert (statistics.model, statistics.size, statistics.num_inference_steps) == (tmp_path.name, "64x64", 2)
        assert set(statistics.milliseconds) == {"queue", "encode", "denoise", "decode", "diffusion"}


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="max_batch_rows"):
        Engine.load("nowhere", max_batch_rows=0)
    with pytest.raises(ValueError, match="no_such_setting"):
        Engine.load("nowhere", no_such_setting=1)


def test_requests_from_threads_share_their_forwards(engine: Engine, gate: Gate, start: Start) -> None:
    gate.close()
    first = start(num_inference_steps=4)
    assert gate.reached.wait(TIMEOUT_S)
    others = [start(num_inference_steps=4) for _ in range(SLOTS - 1)]
    wait_until(lambda: engine.active_requests == SLOTS)
    gate.open()
    assert all(each.result(TIMEOUT_S).frames.shape == (1, 32, 32, 3) for each in (first, *others))
    assert gate.steps == 5, "the first was alone once, then all went together"


def test_an_invalid_request_is_refused_by_name_and_takes_no_slot(engine: Engine) -> None:
    for _ in range(SLOTS + 1):
        with pytest.raises(InvalidArgument, match="n: 11 is outside"):
            engine.generate("a red cat", n=11)
        with pytest.raises(InvalidArgument, match="scheduler: lcm"):
            engine.stream("a red cat", scheduler="lcm")
    assert engine.active_requests == 0


def test_a_stream_has_each_step_then_the_result(engine: Engine) -> None:
    *events, result = engine.stream("a red cat", num_inference_steps=4, n=2, seed=1)
    assert events == [Progress(step, 4) for step in range(1, 5)]
    assert isinstance(result, GenerationResult)
    assert levels(result.frames, engine.generate("a red cat", num_inference_steps=4, n=2, seed=1).frames) <= 1


def test_a_stream_has_previews_where_the_model_can_give_them(engine: Engine) -> None:
    *events, result = engine.stream("a red cat", partial_images=1)
    assert not any(isinstance(event, Preview) for event in events)
    assert isinstance(result, GenerationResult)
    assert result.statistics.warnings == ("partial_images: this model has no previews",)
    projection = fit_projection(pipelines().tasks["text-to-image"].pipeline)
    with tiny_engine(pipelines=replace(pipelines(), projection=projection)) as other:
        options: dict[str, Any] = {"n": 2, "num_inference_steps": 6, "partial_images": 2, "size": (48, 32)}
        previews = [event for event in other.stream("a red cat", **options) if isinstance(event, Preview)]
    assert sorted((p.image_index, p.preview_index) for p in previews) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert {(p.size, p.pixels.shape) for p in previews} == {((48, 32), (16, 24, 3))}


def test_closing_a_stream_cancels_its_request_within_one_step(engine: Engine, gate: Gate) -> None:
    stream = engine.stream("a red cat", num_inference_steps=ENDLESS)
    assert isinstance(stream, Iterator)
    assert next(stream) == Progress(1, ENDLESS)
    gate.close()
    assert gate.reached.wait(TIMEOUT_S)
    steps = gate.steps
    stream.close()  # type: ignore[attr-defined]
    gate.open()
    engine.close()
    assert gate.steps == steps, "the step under way was the last"


def test_a_request_is_cancelled_by_its_id_and_no_other(engine: Engine, gate: Gate, start: Start) -> None:
    mine, yours = (start(num_inference_steps=ENDLESS, request_id=name) for name in ("mine", "yours"))
    wait_until(lambda: engine.active_requests == 2)
    assert not engine.cancel("nobody's")
    assert not engine.cancel("")
    assert engine.cancel("mine")
    assert isinstance(mine.exception(TIMEOUT_S), Cancelled)
    assert not yours.done()
    assert engine.cancel("yours")
    assert isinstance(yours.exception(TIMEOUT_S), Cancelled)
    assert engine.generate("a red cat", request_id="mine").frames.shape[0] == 1, "a later one is not meant"


def test_who_waits_for_a_slot_is_cancelled_at_once(engine: Engine, gate: Gate, start: Start) -> None:
    gate.close()
    holding = [start(num_inference_steps=2) for _ in range(SLOTS)]
    wait_until(lambda: engine.active_requests == SLOTS)
    waiting = start(request_id="mine")
    wait_until(lambda: engine.cancel("mine"))
    assert isinstance(waiting.exception(TIMEOUT_S), Cancelled)
    gate.open()
    assert all(each.result(TIMEOUT_S).frames.shape[0] == 1 for each in holding)


def test_deadlines_end_requests_that_are_generated_and_those_that_wait(engine: Engine, start: Start) -> None:
    generated = [start(num_inference_steps=ENDLESS, timeout_ms=200) for _ in range(SLOTS)]
    waiting = start(timeout_ms=1)
    errors = [each.exception(TIMEOUT_S) for each in (*generated, waiting)]
    assert {type(error) for error in errors} == {DeadlineExceeded}
    assert engine.generate("a red cat", timeout_ms=3_600_000).frames.shape[0] == 1


def test_close_finishes_what_has_begun_and_refuses_who_waits_and_who_comes(
    engine: Engine, gate: Gate, pool: ThreadPoolExecutor, start: Start
) -> None:
    gate.close()
    begun = [start(num_inference_steps=5, n=2) for _ in range(SLOTS)]
    wait_until(lambda: engine.active_requests == SLOTS)
    waiting = start(request_id="waits")
    wait_until(lambda: engine.waiting_requests == 1)
    closing = pool.submit(engine.close)
    assert isinstance(waiting.exception(TIMEOUT_S), Unavailable)
    gate.open()
    closing.result(TIMEOUT_S)
    assert all(each.result(TIMEOUT_S).frames.shape[0] == 2 for each in begun)
    with pytest.raises(Unavailable, match="shutting down"):
        engine.generate("a red cat")


def test_metrics_reach_the_callback() -> None:
    arrived: dict[str, float] = {}

    class Series:
        def __init__(self, name: str) -> None:
            self._name = name

        def increment(self, value: float) -> None:
            arrived[self._name] = arrived.get(self._name, 0) + value

        set = observe = increment

    with tiny_engine(new_series=lambda family, labels: Series(family.name)) as engine:
        engine.generate("a red cat", num_inference_steps=4, n=2)
    assert arrived["imagegen_diffusion_forwards_total"] == 4
    assert arrived["imagegen_diffusion_denoiser_calls_total"] == 8
    assert arrived["imagegen_diffusion_images_total"] == 2


def test_frames_are_an_array_of_their_own(engine: Engine) -> None:
    frames = engine.generate("a red cat", n=2).frames
    assert isinstance(frames, np.ndarray)
    assert frames.flags.writeable
