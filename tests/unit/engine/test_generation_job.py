"""A request's images have one outcome: all frames in order, or the first error; and it is reported once."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from imagegen.api.errors import Cancelled, DeadlineExceeded
from imagegen.engine.executor import Executor
from imagegen.engine.generation_job import GenerationJob
from imagegen.engine.scheduler import Limits
from tests.unit.engine.executor_toys import executor_of


class Step:
    """A call that may share its forward."""

    batch_key, rows, pixels = "a", 1, 1


class Case:
    """A job in an executor of its own, and all that it reported."""

    def __init__(self, generate: Callable[[int, Executor], Any], count: int) -> None:
        self.forwards: list[int] = []
        self.executor = executor_of(self._forward, Limits())
        self.reports: list[tuple[list[Any] | None, BaseException | None]] = []
        self.job = GenerationJob(
            generate=lambda index: generate(index, self.executor),
            count=count,
            finished=lambda frames, error: self.reports.append((frames, error)),
        )
        for run in self.job.runs():
            self.executor.submit(run)

    def run(self) -> None:
        while self.executor.tick():
            pass

    @property
    def error(self) -> BaseException:
        [(frames, error)] = self.reports
        assert frames is None
        assert error is not None
        return error

    def _forward(self, calls: Any) -> list[str]:
        self.forwards.append(len(calls))
        return ["output"] * len(calls)


def some_steps(index: int, executor: Executor) -> str:
    """Image 0 takes the longest."""
    for _ in range(5 - index):
        executor.call(Step())
    return f"frame {index}"


def test_frames_come_in_order_whatever_image_ends_first() -> None:
    case = Case(some_steps, 3)
    case.run()
    assert case.reports == [(["frame 0", "frame 1", "frame 2"], None)]
    assert case.forwards == [3, 3, 3, 2, 1]


def test_one_failing_image_ends_all_of_them_with_its_error() -> None:
    def generate(index: int, executor: Executor) -> str:
        executor.call(Step())
        if index == 1:
            raise ValueError("image 1")
        return some_steps(index, executor)

    case = Case(generate, 3)
    case.run()
    assert str(case.error) == "image 1"
    assert case.forwards == [3]  # the others wait for their next step and leave


def test_of_several_errors_the_first_is_reported() -> None:
    def generate(index: int, executor: Executor) -> None:
        raise ValueError(f"image {index}")

    case = Case(generate, 3)
    case.run()
    assert str(case.error) == "image 0"


def test_a_cancelled_job_leaves_before_the_next_forward() -> None:
    case = Case(some_steps, 2)
    case.executor.tick()
    case.job.token.cancel()
    case.run()
    assert isinstance(case.error, Cancelled)
    assert case.forwards == [2]


def test_a_job_cancelled_before_it_starts_generates_nothing() -> None:
    case = Case(some_steps, 2)
    case.job.token.cancel()
    case.run()
    assert isinstance(case.error, Cancelled)
    assert case.forwards == []


def test_a_cancel_after_the_end_changes_nothing() -> None:
    case = Case(some_steps, 1)
    case.run()
    case.job.token.cancel()
    case.run()
    assert case.reports == [(["frame 0"], None)]


def test_a_job_ends_with_what_it_was_cancelled_for() -> None:
    case = Case(some_steps, 2)
    case.executor.tick()
    case.job.token.cancel(DeadlineExceeded("too late"))
    case.job.token.cancel()
    case.run()
    assert isinstance(case.error, DeadlineExceeded)


@pytest.mark.parametrize("fails", [False, True])
def test_a_finished_job_keeps_neither_frames_nor_what_its_images_held(fails: bool) -> None:
    """Whoever still holds the job holds nothing large, and no garbage collection is needed for that."""

    class Large:
        pass

    held: list[weakref.ref[Large]] = []

    def generate(index: int, executor: Executor) -> Large:
        large = Large()
        held.append(weakref.ref(large))
        executor.call(Step())
        if fails and index == 1:
            raise ValueError
        return large

    gc.collect()
    gc.disable()
    try:
        case = Case(generate, 3)
        case.run()
        assert len(case.reports) == 1
        case.reports.clear()
        assert [large() for large in held] == [None] * 3
    finally:
        gc.enable()
