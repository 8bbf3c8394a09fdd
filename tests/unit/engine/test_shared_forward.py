"""A forward that can be preempted: it goes on where it was, and is left for good when all its runs are to stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import greenlet

from imagegen.engine.pipeline_run import PipelineRun
from imagegen.engine.scheduler import Rest
from imagegen.engine.shared_forward import SharedForward

REST = Rest("key", 1, 1, 0.5, 0.5)


class Hub:
    """Lets others have the device whenever it is asked."""

    def __init__(self) -> None:
        self._greenlet = greenlet.getcurrent()

    def give_way(self, rest: Rest) -> bool:
        self._greenlet.switch()
        return True

    def make_room(self) -> bool:
        return False


def run(calls_left: int, stop: Exception | None = None) -> PipelineRun:
    made = PipelineRun(lambda: None, lambda result, error: None, lambda: stop, calls_left)
    made.call = calls_left
    return made


def in_layers(calls: Sequence[Any]) -> list[Any]:
    here: Any = greenlet.getcurrent()
    try:
        for _ in range(2):
            here.give_way(REST)
        return [10 * call for call in calls]
    finally:
        LEFT.append("left")


LEFT: list[str] = []


def test_it_goes_on_where_it_was() -> None:
    shared = SharedForward([run(3), run(1)], in_layers, Hub())
    assert [shared.go_on(), shared.go_on()] == [None, None]
    assert shared.calls_left == 1
    assert shared.go_on() == [30, 10]


def test_it_stops_when_all_its_runs_are_to_stop() -> None:
    first, second = ValueError("first"), ValueError("second")
    assert SharedForward([run(1), run(1, second)], in_layers, Hub()).stop() is None
    assert SharedForward([run(1, first), run(1, second)], in_layers, Hub()).stop() is second


def test_what_is_left_for_good_is_cleaned_up() -> None:
    shared = SharedForward([run(1)], in_layers, Hub())
    shared.go_on()
    LEFT.clear()
    shared.end()
    assert LEFT == ["left"]
