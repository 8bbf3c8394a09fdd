"""A request's images have one outcome: all frames in order, or the first error; and it is reported once."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from imagegen.api.errors import Cancelled, DeadlineExceeded
from imagegen.engine.executor import Hub, Limits
from imagegen.engine.generation_job import Order


class Step:
    """A call that may share its forward."""

    signature, rows, pixels = "a", 1, 1


class Case:
    """An order in a hub of its own, and all that it reported."""

    def __init__(self, draw: Callable[[int, Hub], Any], count: int, deadline_s: float | None = None) -> None:
        self.forwards: list[int] = []
        self.hub = Hub(self._forward, Limits())
        self.reports: list[tuple[list[Any] | None, BaseException | None]] = []
        self.order = Order(
            draw=lambda index: draw(index, self.hub),
            count=count,
            finished=lambda frames, error: self.reports.append((frames, error)),
            deadline_s=deadline_s,
        )
        for image in self.order.images():
            self.hub.submit(image)

    def run(self) -> None:
        while self.hub.tick():
            pass

    @property
    def error(self) -> BaseException:
        [(frames, error)] = self.reports
        assert frames is None
        assert error is not None
        return error

    def _forward(self, calls: Any) -> list[str]:
        self.forwards.append(len(calls))
        return ["answer"] * len(calls)


def some_steps(index: int, hub: Hub) -> str:
    """PipelineRun 0 takes the longest."""
    for _ in range(5 - index):
        hub.call(Step())
    return f"frame {index}"


def test_frames_come_in_order_whatever_image_ends_first() -> None:
    case = Case(some_steps, 3)
    case.run()
    assert case.reports == [(["frame 0", "frame 1", "frame 2"], None)]
    assert case.forwards == [3, 3, 3, 2, 1]


def test_one_failing_image_ends_all_of_them_with_its_error() -> None:
    def draw(index: int, hub: Hub) -> str:
        hub.call(Step())
        if index == 1:
            raise ValueError("image 1")
        return some_steps(index, hub)

    case = Case(draw, 3)
    case.run()
    assert str(case.error) == "image 1"
    assert case.forwards == [3]  # the others wait for their next step and leave


def test_of_several_errors_the_first_is_reported() -> None:
    def draw(index: int, hub: Hub) -> None:
        raise ValueError(f"image {index}")

    case = Case(draw, 3)
    case.run()
    assert str(case.error) == "image 0"


def test_a_cancelled_order_leaves_before_the_next_forward() -> None:
    case = Case(some_steps, 2)
    case.hub.tick()
    case.order.cancel()
    case.run()
    assert isinstance(case.error, Cancelled)
    assert case.forwards == [2]


def test_an_order_cancelled_before_it_starts_draws_nothing() -> None:
    case = Case(some_steps, 2)
    case.order.cancel()
    case.run()
    assert isinstance(case.error, Cancelled)
    assert case.forwards == []


def test_a_cancel_after_the_end_changes_nothing() -> None:
    case = Case(some_steps, 1)
    case.run()
    case.order.cancel()
    case.run()
    assert case.reports == [(["frame 0"], None)]


@pytest.mark.parametrize(
    ("deadline_s", "ends_with"), [(-1.0, DeadlineExceeded), (math.inf, type(None)), (None, type(None))]
)
def test_a_deadline_in_the_past_ends_the_order(deadline_s: float | None, ends_with: type) -> None:
    case = Case(some_steps, 2, deadline_s)
    case.run()
    [(_, error)] = case.reports
    assert type(error) is ends_with
    assert len(case.forwards) == (0 if error else 5)


@pytest.mark.parametrize("fails", [False, True])
def test_a_finished_order_keeps_neither_frames_nor_what_its_images_held(fails: bool) -> None:
    """Whoever still holds the order holds nothing large, and no garbage collection is needed for that."""

    class Large:
        pass

    held: list[weakref.ref[Large]] = []

    def draw(index: int, hub: Hub) -> Large:
        large = Large()
        held.append(weakref.ref(large))
        hub.call(Step())
        if fails and index == 1:
            raise ValueError
        return large

    gc.collect()
    gc.disable()
    try:
        case = Case(draw, 3)
        case.run()
        assert len(case.reports) == 1
        case.reports.clear()
        assert [large() for large in held] == [None] * 3
    finally:
        gc.enable()
