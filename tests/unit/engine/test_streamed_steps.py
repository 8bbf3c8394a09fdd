"""Images that are followed share scheduler steps as those do that nobody follows, and each tells of itself alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from imagegen.api.events import Preview, Progress
from imagegen.engine import Engine, GenerationResult
from imagegen.engine.shared_step import StepCall
from imagegen.pipelines.checkpoint import Pipelines, describe_pipelines
from imagegen.pipelines.previews import fit_projection
from tests.unit import tiny_pipelines as tiny
from tests.unit.tiny_engine import SETTINGS, Gate, levels, pipelines, tiny_engine, wait_until

STEPS = 5
SCHEDULERS = ["ddim", "euler", "unipc", "ddpm"]  # without state, with an index, with a history, with noise
Streamed = tuple[list[Progress], list[Preview], GenerationResult]


@cache
def previewed() -> Pipelines:
    projection = fit_projection(pipelines().tasks["text-to-image"].pipeline)
    assert projection is not None
    return replace(pipelines(), projection=projection)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with tiny_engine(pipelines=previewed()) as made:
        yield made


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each real step of a scheduler was for."""
    steps: list[int] = []
    alone, together = StepCall.alone, StepCall.together

    def alone_noted(call: StepCall) -> Any:
        steps.append(1)
        return alone(call)

    def together_noted(call: StepCall, calls: Any) -> Any:
        steps.append(len(calls))
        return together(call, calls)

    monkeypatch.setattr(StepCall, "alone", alone_noted)
    monkeypatch.setattr(StepCall, "together", together_noted)
    return steps


def stream(engine: Engine, **options: Any) -> Streamed:
    *events, result = engine.stream("a cat", num_inference_steps=STEPS, **options)
    assert isinstance(result, GenerationResult)
    return [e for e in events if isinstance(e, Progress)], [e for e in events if isinstance(e, Preview)], result


def at_once(engine: Engine, gate: Gate, *requests: Any) -> list[Any]:
    """Requests that begin in the same tick, beside one that was there before."""
    gate.close()
    with ThreadPoolExecutor(len(requests) + 1) as pool:
        before = pool.submit(engine.generate, "a dog", seed=9, num_inference_steps=2)
        assert gate.reached.wait(20)
        futures = [pool.submit(request) for request in requests]
        wait_until(lambda: engine._runner._executor.active == len(requests) + 1)
        gate.open()
        before.result()
        return [future.result() for future in futures]


def assert_right(streamed: Streamed, engine: Engine, seed: int, index: int, scheduler: str) -> None:
    """It tells every step, and previews of the image that it ends with."""
    progress, previews, _ = streamed
    assert [event.step for event in progress] == list(range(1, STEPS + 1))
    _, alone, _ = stream(engine, seed=seed, partial_images=2, scheduler=scheduler)
    own = [preview for preview in previews if preview.image_index == index]
    assert [preview.preview_index for preview in own] == [0, 1]
    for preview, expected in zip(own, alone, strict=True):
        assert levels(preview.pixels, expected.pixels) <= 1


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_images_of_a_request_that_is_followed_take_their_steps_as_one(
    engine: Engine, shared: list[int], scheduler: str
) -> None:
    """Each took its own, as if it were of another kind than the others."""
    unfollowed = engine.generate("a cat", n=4, seed=1, num_inference_steps=STEPS, scheduler=scheduler)
    expected, shared[:] = list(shared), []
    streamed = stream(engine, n=4, seed=1, partial_images=2, scheduler=scheduler)
    assert shared == expected == [4] * STEPS
    assert np.array_equal(streamed[2].frames, unfollowed.frames)
    for index in range(4):
        assert_right(streamed, engine, 1 + index, index, scheduler)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_two_that_are_followed_take_their_steps_as_one_and_each_hears_of_its_own(
    engine: Engine, gate: Gate, shared: list[int], scheduler: str
) -> None:
    options = {"partial_images": 2, "scheduler": scheduler}
    first, second = at_once(
        engine, gate, lambda: stream(engine, seed=1, **options), lambda: stream(engine, seed=2, **options)
    )
    assert shared.count(2) == STEPS
    for streamed, seed in ((first, 1), (second, 2)):
        assert_right(streamed, engine, seed, 0, scheduler)
    unfollowed = at_once(
        engine,
        gate,
        *(
            lambda seed=seed: engine.generate("a cat", seed=seed, num_inference_steps=STEPS, scheduler=scheduler)
            for seed in (1, 2)
        ),
    )
    for result, expected in zip((first[2], second[2]), unfollowed, strict=True):
        assert np.array_equal(result.frames, expected.frames)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_one_that_is_followed_shares_with_one_that_is_not(
    engine: Engine, gate: Gate, shared: list[int], scheduler: str
) -> None:
    streamed, unfollowed = at_once(
        engine,
        gate,
        lambda: stream(engine, seed=1, partial_images=2, scheduler=scheduler),
        lambda: engine.generate("a cat", seed=2, num_inference_steps=STEPS, scheduler=scheduler),
    )
    assert shared.count(2) == STEPS
    assert_right(streamed, engine, 1, 0, scheduler)
    alone = engine.generate("a cat", seed=2, num_inference_steps=STEPS, scheduler=scheduler)
    assert levels(unfollowed.frames, alone.frames) <= 1


@pytest.mark.parametrize("make", [tiny.sd3, tiny.flux])
def test_so_do_those_of_flow_matching(make: Any, shared: list[int]) -> None:
    """Who follows them looks up each step's noise."""
    with tiny_engine(pipelines=describe_pipelines(make(), SETTINGS, torch.device("cpu"))) as engine:
        options: Any = {"n": 2, "seed": 1, "size": (64, 64)}
        progress, _, result = stream(engine, **options)
        assert shared == [2] * STEPS
        assert [event.step for event in progress] == list(range(1, STEPS + 1))
        unfollowed = engine.generate("a cat", num_inference_steps=STEPS, **options)
        assert np.array_equal(result.frames, unfollowed.frames)
