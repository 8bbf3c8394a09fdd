"""A run that waits for something of the device keeps nobody else waiting, and ends whatever happens."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from imagegen.engine.executor import Executor
from imagegen.engine.pipeline_run import PipelineRun
from imagegen.engine.scheduler import Limits
from tests.unit.engine.executor_toys import Model, Toy, executor_of


@dataclass
class Copy:
    """Arrives when it is asked for the given time, or waited for."""

    asked_until_there: int
    waits: int = field(default=0, init=False)

    def arrived(self) -> bool:
        self.asked_until_there -= 1
        return self.asked_until_there <= 0

    def wait(self) -> None:
        self.waits += 1
        self.asked_until_there = 0


def submitted(executor: Executor, run: Any, outcomes: list[Any]) -> None:
    executor.submit(PipelineRun(run, lambda result, error: outcomes.append(error or result)))


def test_others_go_on_until_it_has_come() -> None:
    executor = executor_of(Model(), Limits())
    copy = Copy(3)
    outcomes: list[Any] = []

    def receives() -> str:
        executor.suspend_until(copy)
        return "came"

    submitted(executor, receives, outcomes)
    submitted(executor, lambda: [executor.call(Toy()) for _ in range(5)], outcomes)
    ticks = 0
    while executor.tick():
        ticks += 1
        if ticks == 3:
            assert outcomes == ["came"]
    assert outcomes == ["came", [2] * 5]
    assert (ticks, copy.waits) == (5, 0)


def test_where_there_is_nothing_else_to_do_it_is_waited_for() -> None:
    executor = executor_of(Model(), Limits())
    copies = [Copy(100), Copy(100)]
    outcomes: list[Any] = []
    for copy in copies:
        submitted(executor, partial(executor.suspend_until, copy), outcomes)
    assert executor.tick()
    assert [copy.waits for copy in copies] == [1, 0]
    assert executor.tick()
    assert (len(outcomes), executor.active) == (2, 0)


def test_one_that_is_abandoned_meanwhile_ends_with_the_error() -> None:
    executor = executor_of(Model(), Limits())
    outcomes: list[Any] = []
    submitted(executor, partial(executor.suspend_until, Copy(100)), outcomes)
    submitted(executor, lambda: [executor.call(Toy()) for _ in range(5)], outcomes)
    executor.tick()
    error = RuntimeError("broken")
    executor.abandon(error)
    assert outcomes == [error, error]
    assert executor.active == 0
    assert not executor.tick()


def test_a_run_may_wait_between_its_calls() -> None:
    executor = executor_of(Model(), Limits())
    outcomes: list[Any] = []

    def run() -> list[int]:
        results = []
        for value in range(3):
            results.append(executor.call(Toy(value)))
            executor.suspend_until(Copy(2))
        return results

    submitted(executor, run, outcomes)
    while executor.tick():
        pass
    assert outcomes == [[0, 2, 4]]
