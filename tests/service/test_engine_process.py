"""The engine in a real process of its own: the same images, and its end is nobody else's."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import psutil
import pytest

from checkpoint.random_checkpoint import make_checkpoint
from imagegen.api.errors import Cancelled, InvalidArgument, Unavailable
from imagegen.api.events import Progress
from imagegen.backoff import Backoff
from imagegen.engine import Engine, EngineProcess, EngineSettings, GenerationResult
from imagegen.engine.worker import engine_process
from tests.unit.tiny_engine import ENDLESS, levels, wait_until

SMALL: dict[str, Any] = {"size": "64x64", "num_inference_steps": 2}
LONG = {**SMALL, "num_inference_steps": ENDLESS}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> EngineSettings:
    folder = tmp_path_factory.mktemp("engine-process") / "checkpoint"
    make_checkpoint(folder)
    return EngineSettings(
        model=str(folder), max_active_requests=2, max_num_inference_steps=1000, max_expected_s=0, cpu_threads=1,
        warmup_sizes=("none",), drain_timeout_s=1, hang_timeout_s=3,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def without_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was there at all has been there for long."""
    monkeypatch.setattr(engine_process, "_BACKOFF", Backoff(stable_s=0.0))


@pytest.fixture(scope="module")
def threads_before() -> set[threading.Thread]:
    return set(threading.enumerate())


@pytest.fixture(scope="module")
def engine(settings: EngineSettings, threads_before: set[threading.Thread]) -> Iterator[EngineProcess]:
    with EngineProcess(settings) as made:
        yield made


@contextmanager
def begun(engine: EngineProcess, prompt: str) -> Iterator[Future[GenerationResult]]:
    """A request that is being generated."""
    stepped = threading.Event()

    def follow() -> GenerationResult:
        *_, result = (stepped.set() or event for event in engine.stream(prompt, **LONG))  # type: ignore[func-returns-value]
        assert isinstance(result, GenerationResult)
        return result

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(follow)
        assert stepped.wait(60)
        yield future


def test_the_images_are_those_of_an_engine_in_this_process(engine: EngineProcess, settings: EngineSettings) -> None:
    result = engine.generate("a red cat", seed=2**63 - 2, n=2, **SMALL)
    with Engine(settings) as own:
        expected = own.generate("a red cat", seed=2**63 - 2, n=2, **SMALL)
    assert levels(result.frames, expected.frames) <= 1
    assert result.seeds == expected.seeds
    assert result.statistics.model_dump(exclude={"milliseconds"}) == expected.statistics.model_dump(
        exclude={"milliseconds"}
    )
    image = np.full((64, 64, 3), 200, np.uint8)
    from_image = engine.generate("a dog", images=image, strength=1.0, seed=1, num_inference_steps=2)
    assert from_image.statistics.task == "image-to-image"


def test_streams_and_asyncio_are_the_same(engine: EngineProcess) -> None:
    *events, result = engine.stream("a cat", seed=1, **{**SMALL, "num_inference_steps": 3})
    assert [event.step for event in events if isinstance(event, Progress)] == [1, 2, 3]

    async def both() -> tuple[GenerationResult, Any]:
        streamed = [event async for event in engine.stream_async("a cat", seed=1, **SMALL)]
        return await engine.generate_async("a cat", seed=1, **SMALL), streamed[-1]

    one, other = asyncio.run(both())
    assert levels(one.frames, other.frames) <= 1
    assert isinstance(result, GenerationResult)


def test_what_is_invalid_is_refused_here_or_there(engine: EngineProcess) -> None:
    with pytest.raises(InvalidArgument, match="size"):
        engine.generate("a cat", size="63x64")
    with pytest.raises(InvalidArgument, match="strength"):
        engine.generate("a cat", images=np.zeros((64, 64, 3), np.uint8), strength=0.1, num_inference_steps=2)
    assert engine.active_requests == 0


def test_a_cancel_ends_a_request(engine: EngineProcess) -> None:
    stream = engine.stream("a cat", request_id="mine", **LONG)
    next(stream)
    assert engine.cancel("mine")
    with pytest.raises(Cancelled):
        list(stream)
    wait_until(lambda: engine.active_requests == 0)


def test_a_hang_is_an_error_for_what_it_had_and_then_it_serves_again(engine: EngineProcess) -> None:
    pid = engine.pid
    assert pid is not None
    with begun(engine, "hung") as held:
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(Unavailable, match="is started again"):
            held.result(60)
    assert engine.generate("after it", **SMALL).frames.shape == (1, 64, 64, 3)  # waits until it is there
    assert engine.pid != pid
    assert not psutil.pid_exists(pid)


def killed(engine: EngineProcess) -> None:
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)


def orphaned(engine: EngineProcess) -> None:
    """As the end of this process would leave it."""
    assert engine._worker is not None
    assert engine._worker._process.stdin is not None
    engine._worker._process.stdin.close()


def test_a_death_is_one_too_and_the_same_request_is_not_tried_a_third_time(engine: EngineProcess) -> None:
    for end in (killed, orphaned):
        engine.generate("harmless", **SMALL)  # it is there
        assert engine.pid is not None
        worker = psutil.Process(engine.pid)
        with begun(engine, "deadly") as held:
            end(engine)
            with pytest.raises(Unavailable, match="is started again"):
                held.result(60)
        wait_until(lambda worker=worker: not worker.is_running())  # type: ignore[misc]
    with pytest.raises(InvalidArgument, match="when the engine broke down"):
        engine.generate("deadly", **LONG)


def test_close_ends_what_takes_too_long_and_leaves_nothing(
    engine: EngineProcess, threads_before: set[threading.Thread]
) -> None:
    """The last test, as it ends the engine."""
    engine.generate("it is there", **SMALL)
    pid = engine.pid
    assert pid is not None
    with begun(engine, "long") as held:
        started_s = time.monotonic()
        engine.close()
        with pytest.raises(Unavailable):
            held.result(20)
    assert time.monotonic() - started_s < 30
    assert not psutil.pid_exists(pid)
    with pytest.raises(Unavailable):
        engine.generate("x", **SMALL)
    engine.close()
    plain = {thread for thread in threading.enumerate() if type(thread) is threading.Thread}  # others are of libraries
    assert plain <= threads_before
