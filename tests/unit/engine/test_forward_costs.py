"""How a forward's time grows with its rows is learnt from the forwards that run."""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from imagegen.engine.forward_costs import ForwardCosts, fixed_rows_of


def note(costs: ForwardCosts, batch_key: object, rows: int, seconds: float) -> None:
    """As often as it takes to count."""
    for _ in range(3):
        costs.note(batch_key, rows, seconds)


@pytest.fixture
def costs() -> ForwardCosts:
    return ForwardCosts(torch.device("cpu"))


def test_the_fixed_cost_is_given_in_rows() -> None:
    assert fixed_rows_of({2: 0.010, 4: 0.014, 16: 0.038}) == pytest.approx(3)  # 6 ms, and 2 ms a row


@pytest.mark.parametrize("seconds", [{}, {2: 0.01}, {2: 0.01, 8: 0.01}, {2: 0.02, 8: 0.01}])
def test_without_a_rising_line_rows_cost_nothing(seconds: dict[int, float]) -> None:
    assert fixed_rows_of(seconds) == math.inf


def test_more_than_proportional_costs_leave_no_fixed_cost() -> None:
    assert fixed_rows_of({2: 0.01, 4: 0.03}) == 0


def test_batch_keys_are_kept_apart(costs: ForwardCosts) -> None:
    for rows in (2, 4):
        note(costs, "small", rows, 0.010 + rows * 0.001)
        note(costs, "large", rows, 0.010 + rows * 0.010)
    assert costs.fixed_rows("small") == pytest.approx(10)
    assert costs.fixed_rows("large") == pytest.approx(1)
    assert costs.fixed_rows("never seen") == math.inf


@pytest.mark.parametrize("slow_rows", [2, 4, 12])
def test_one_forward_that_compiles_or_is_held_up_does_not_count(costs: ForwardCosts, slow_rows: int) -> None:
    """At many rows it would say that a forward costs nothing but rows, and none of that many would be run again."""
    for rows in (2, 4):
        note(costs, "a", rows, 0.006 + rows * 0.002)
    costs.note("a", slow_rows, 30.0)
    assert costs.fixed_rows("a") == pytest.approx(3)


def test_what_was_measured_only_twice_does_not_count(costs: ForwardCosts) -> None:
    note(costs, "a", 2, 0.010)
    for _ in range(2):
        costs.note("a", 4, 0.014)
    assert costs.fixed_rows("a") == math.inf
    costs.note("a", 4, 0.014)
    assert costs.fixed_rows("a") == pytest.approx(3)


def test_what_has_become_slower_is_learnt_anew(costs: ForwardCosts) -> None:
    for _ in range(5):
        costs.note("a", 2, 0.010)
        costs.note("a", 4, 0.014)
    note(costs, "a", 4, 0.018)
    assert costs.fixed_rows("a") == pytest.approx(0.5)


def test_a_forward_is_timed_while_it_runs(costs: ForwardCosts, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1.0, 1.010, 2.0, 2.014] * 3)
    monkeypatch.setattr("imagegen.engine.device_clock.time.perf_counter", lambda: next(clock))
    for rows in (2, 4) * 3:
        with costs.timed("a", rows):
            pass
    assert costs.fixed_rows("a") == pytest.approx(3)


def test_a_forward_that_raises_tells_nothing(costs: ForwardCosts) -> None:
    note(costs, "a", 2, 0.010)
    for _ in range(3):
        with pytest.raises(MemoryError), costs.timed("a", 4):
            raise MemoryError
    assert costs.fixed_rows("a") == math.inf


def test_batch_keys_of_long_ago_are_forgotten(costs: ForwardCosts) -> None:
    for batch_key in ("first", "in use", *range(300)):
        for rows in (2, 4):
            note(costs, batch_key, rows, 0.010 + rows * 0.001)
            note(costs, "in use", rows, 0.010 + rows * 0.001)
    assert costs.fixed_rows("first") == math.inf
    assert costs.fixed_rows("in use") == pytest.approx(10)
    assert costs.fixed_rows(299) == pytest.approx(10)


@dataclass(eq=False)
class Event:
    """Stands in for CUDA's, for want of a GPU: what is queued is done when the test says so."""

    enable_timing: bool
    stream: object = None
    at_ms: float = 0.0

    clock_ms: ClassVar[float] = 0.0
    done_ms: ClassVar[float] = 0.0
    alive: ClassVar[weakref.WeakSet[Event]] = weakref.WeakSet()

    def __post_init__(self) -> None:
        Event.alive.add(self)

    def record(self, stream: object) -> None:
        self.stream, self.at_ms = stream, Event.clock_ms

    def query(self) -> bool:
        return self.at_ms <= Event.done_ms

    def elapsed_time(self, end: Event) -> float:
        return end.at_ms - self.at_ms


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> ForwardCosts:
    monkeypatch.setattr("torch.cuda.Event", Event)
    monkeypatch.setattr("torch.cuda.current_stream", lambda device: f"stream of {device}")
    Event.clock_ms = Event.done_ms = 0.0
    return ForwardCosts(torch.device("cuda:1"))


def run_on_gpu(costs: ForwardCosts, rows: int, ms: float) -> None:
    with costs.timed("a", rows):
        Event.clock_ms += ms


def test_on_a_gpu_forwards_count_when_it_has_done_them(on_gpu: ForwardCosts) -> None:
    for _ in range(3):
        run_on_gpu(on_gpu, 2, 10)
        run_on_gpu(on_gpu, 4, 14)
    assert on_gpu.fixed_rows("a") == math.inf
    Event.done_ms = Event.clock_ms
    assert on_gpu.fixed_rows("a") == pytest.approx(3)
    assert {event.stream for event in Event.alive} <= {"stream of cuda:1"}  # that of the instance, not of GPU 0


def test_on_a_gpu_no_marks_pile_up_while_images_are_generated_alone(on_gpu: ForwardCosts) -> None:
    """Then nobody asks what rows cost."""
    for _ in range(1000):
        run_on_gpu(on_gpu, 2, 10)
        Event.done_ms = Event.clock_ms
    assert len(Event.alive) <= 2


def test_what_a_forward_takes_is_that_of_the_nearest_number_of_rows(costs: ForwardCosts) -> None:
    assert costs.seconds("a", 2) is None
    note(costs, "a", 2, 0.010)
    note(costs, "a", 16, 0.040)
    costs.note("a", 6, 0.5)
    assert [costs.seconds("a", rows) for rows in (1, 2, 6, 14, 32)] == [0.010, 0.010, 0.010, 0.040, 0.040]
    assert costs.seconds("b", 2) is None


def test_of_what_was_preempted_its_own_time_counts(costs: ForwardCosts) -> None:
    for _ in range(3):
        with costs.timed("key", 2) as timing:
            timing.seconds = 1234.5
    assert costs.seconds("key", 2) == 1234.5
