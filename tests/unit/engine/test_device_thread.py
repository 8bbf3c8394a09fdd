"""The device thread runs what is submitted, survives a broken executor, and closes with an outcome for everybody."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from imagegen.api.errors import InternalError, Unavailable
from imagegen.engine.device_thread import DeviceThread
from imagegen.engine.generation_job import GenerationJob
from imagegen.engine.scheduler import Limits
from tests.unit.engine.executor_toys import executor_of

TIMEOUT_S = 10


class Step:
    """A call that may share its forward."""

    batch_key, rows, pixels = "a", 1, 1


class Bench:
    """A device thread whose forwards can be held back, and the outcomes of its jobs."""

    def __init__(self, on_alive: Callable[[], None] = lambda: None) -> None:
        self.may_forward = threading.Event()
        self.may_forward.set()
        self.in_forward = threading.Event()
        self.breaks_with: BaseException | None = None
        self.executor = executor_of(self._forward, Limits())
        self.thread = DeviceThread(self.executor, on_alive)

    def generate(self, steps: int, count: int = 1) -> Outcome:
        outcome = Outcome()

        def image(index: int) -> int:
            for _ in range(steps):
                self.executor.call(Step())
            return index

        self.thread.submit(GenerationJob(image, count, outcome.report))
        return outcome

    def _forward(self, calls: Sequence[Any]) -> list[str]:
        self.in_forward.set()
        assert self.may_forward.wait(TIMEOUT_S)
        if self.breaks_with is not None:
            error, self.breaks_with = self.breaks_with, None
            raise error
        return ["output"] * len(calls)


class Outcome:
    """What was reported of one job."""

    def __init__(self) -> None:
        self.reports: list[tuple[list[Any] | None, BaseException | None]] = []
        self._reported = threading.Event()

    def report(self, frames: list[Any] | None, error: BaseException | None) -> None:
        self.reports.append((frames, error))
        self._reported.set()

    def wait(self) -> tuple[list[Any] | None, BaseException | None]:
        assert self._reported.wait(TIMEOUT_S)
        [report] = self.reports
        return report


def test_jobs_from_several_threads_are_generated() -> None:
    bench = Bench()
    outcomes: list[Outcome] = []
    threads = [threading.Thread(target=lambda: outcomes.append(bench.generate(steps=3, count=2))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [outcome.wait() for outcome in outcomes] == [([0, 1], None)] * 4
    bench.thread.close(TIMEOUT_S)


def test_everything_runs_on_one_thread_without_gradients() -> None:
    bench = Bench()
    outcome, seen = Outcome(), set()

    def image(index: int) -> bool:
        seen.add(threading.current_thread().name)
        bench.executor.call(Step())
        return torch.is_grad_enabled()

    bench.thread.submit(GenerationJob(image, 2, outcome.report))
    assert outcome.wait() == ([False, False], None)
    assert seen == {"device"}
    bench.thread.close(TIMEOUT_S)


def test_close_finishes_what_is_being_generated() -> None:
    bench = Bench()
    bench.may_forward.clear()
    outcomes = [bench.generate(steps=5), bench.generate(steps=2)]
    assert bench.in_forward.wait(TIMEOUT_S)
    closing = threading.Thread(target=bench.thread.close, args=(TIMEOUT_S,))
    closing.start()
    bench.may_forward.set()
    closing.join()
    assert [outcome.wait() for outcome in outcomes] == [([0], None)] * 2
    assert bench.executor.active == 0


def test_close_refuses_what_is_not_finished_in_time() -> None:
    bench = Bench()
    bench.may_forward.clear()
    outcomes = [bench.generate(steps=10**9), bench.generate(steps=10**9, count=3)]
    assert bench.in_forward.wait(TIMEOUT_S)
    closing = threading.Thread(target=bench.thread.close, args=(0.0,))
    closing.start()
    bench.may_forward.set()
    closing.join()
    for outcome in outcomes:
        frames, error = outcome.wait()
        assert frames is None
        assert isinstance(error, Unavailable)
    assert bench.executor.active == 0


def test_close_of_an_idle_thread_ends_it() -> None:
    before = set(threading.enumerate())
    bench = Bench()
    [thread] = set(threading.enumerate()) - before
    bench.thread.close(TIMEOUT_S)
    assert not thread.is_alive()
    bench.thread.close(TIMEOUT_S)  # of no effect


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_an_executor_that_breaks_fails_its_requests_and_the_thread_goes_on(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """What is no `Exception` in a forward is not isolated: it breaks the round."""
    bench = Bench()
    bench.may_forward.clear()
    outcomes = [bench.generate(steps=3), bench.generate(steps=3, count=2)]
    assert bench.in_forward.wait(TIMEOUT_S)
    bench.breaks_with = error
    with caplog.at_level(logging.ERROR):
        bench.may_forward.set()
        errors = [outcome.wait()[1] for outcome in outcomes]
    assert [type(each) for each in errors] == [InternalError] * 2
    assert "the executor broke" in caplog.text
    assert bench.generate(steps=3).wait() == ([0], None)
    bench.thread.close(TIMEOUT_S)


def test_a_job_that_comes_after_the_end_is_refused_at_once() -> None:
    bench = Bench()
    bench.thread.close(TIMEOUT_S)
    with pytest.raises(Unavailable, match="shutting down"):
        bench.generate(steps=1)
    assert bench.executor.active == 0


def test_it_shows_that_it_lives_after_each_tick_and_while_there_is_nothing_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("imagegen.engine.device_thread._IDLE_S", 0.01)
    beats = [threading.Event() for _ in range(3)]
    left = list(beats)

    def beat() -> None:
        if left:
            left.pop(0).set()

    bench = Bench(beat)
    assert all(each.wait(TIMEOUT_S) for each in beats), "idle"
    bench.may_forward.clear()
    bench.generate(steps=1)
    assert bench.in_forward.wait(TIMEOUT_S)
    after = threading.Event()
    left.append(after)
    assert not after.wait(0.1), "a forward that hangs shows no life"
    bench.may_forward.set()
    assert after.wait(TIMEOUT_S)
    bench.thread.close(TIMEOUT_S)
