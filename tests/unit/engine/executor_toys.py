"""Toy calls for the executor and the scheduler: a call's output is twice its value."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from imagegen.engine.executor import Executor, Forward
from imagegen.engine.pipeline_run import PipelineRun
from imagegen.engine.policy import WeightedShortestProcessingTime
from imagegen.engine.scheduler import Limits, Policy, Scheduler


def _rows_cost_everything(batch_key: Hashable) -> float:
    return 0.0


FULL_DEVICE = WeightedShortestProcessingTime(_rows_cost_everything)
"""Rows cost so much that a forward's fixed cost is nothing."""


def executor_of(forward: Forward, limits: Limits, policy: Policy | None = None) -> Executor:
    """An executor whose scheduler has these limits."""
    return Executor(forward, Scheduler(limits, policy))


@dataclass(frozen=True)
class Toy:
    """A call whose output is twice its value."""

    value: int = 1
    batch_key: str = "a"
    rows: int = 1
    pixels: int = 1


class Stopped(Exception):
    """What ends an image that was asked to stop."""


@dataclass
class Model:
    """The toy forward; remembers what it ran together.

    Attributes:
        bad: values that it cannot stand.
        capacity: most rows before it is out of memory.
        groups: the values of each forward that went well.
    """

    bad: frozenset[int] = frozenset()
    capacity: int = 1000
    groups: list[list[int]] = field(default_factory=list)

    def __call__(self, calls: Sequence[Toy]) -> list[int]:
        assert len({call.batch_key for call in calls}) == 1
        if sum(call.rows for call in calls) > self.capacity:
            raise MemoryError
        bad = [call.value for call in calls if call.value in self.bad]
        if bad:
            raise ValueError(f"cannot stand {bad[0]}")
        self.groups.append([call.value for call in calls])
        return [2 * call.value for call in calls]


@dataclass(eq=False)
class Submitted:
    """A submitted image and all that was reported of it."""

    image: PipelineRun = field(init=False)
    reports: list[tuple[Any, BaseException | None]] = field(default_factory=list)
    stop_with: Exception | None = None

    @property
    def result(self) -> Any:
        """The result; fails unless exactly one report says so."""
        assert [error for _, error in self.reports] == [None]
        return self.reports[0][0]

    @property
    def error(self) -> BaseException:
        """The error; fails unless exactly one report says so."""
        [(result, error)] = self.reports
        assert result is None
        assert error is not None
        return error


def submit(executor: Executor, run: Callable[[], Any], expected_calls: int = 1) -> Submitted:
    submitted = Submitted()
    submitted.image = PipelineRun(
        run, lambda *report: submitted.reports.append(report), lambda: submitted.stop_with, expected_calls
    )
    executor.submit(submitted.image)
    return submitted


def steps(executor: Executor, *calls: Toy) -> Callable[[], list[int]]:
    """An image's work: these calls one after the other; returns their outputs."""
    return lambda: [executor.call(call) for call in calls]


def run_to_end(executor: Executor, most_ticks: int = 10_000) -> int:
    """Ticks that it took."""
    for ticks in range(most_ticks):
        if not executor.tick():
            assert executor.active == 0
            return ticks
    raise AssertionError("the executor does not come to an end")
