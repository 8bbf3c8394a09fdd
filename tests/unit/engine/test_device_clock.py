"""Moments of a device come in order; on a CPU they have passed as soon as they are marked."""

from __future__ import annotations

import torch

from imagegen.engine.device_clock import has_passed, mark, seconds_between, wait_until

CPU = torch.device("cpu")


def test_on_a_cpu_a_mark_is_now() -> None:
    before, after = mark(CPU), mark(CPU)
    assert has_passed(before)
    assert has_passed(after)
    assert seconds_between(before, after) >= 0
    assert seconds_between(1.5, 4.0) == 2.5
    wait_until(after)


def test_on_a_gpu_its_own_events_count() -> None:
    class Event:
        """As torch.cuda.Event, which measures milliseconds."""

        def __init__(self, at_ms: float, passed: bool) -> None:
            self.at_ms, self.passed = at_ms, passed

        def query(self) -> bool:
            return self.passed

        def synchronize(self) -> None:
            self.passed = True

        def elapsed_time(self, later: Event) -> float:
            return later.at_ms - self.at_ms

    early, late = Event(10, True), Event(260, False)
    assert (has_passed(early), has_passed(late)) == (True, False)
    assert seconds_between(early, late) == 0.25
    wait_until(late)
    assert has_passed(late)
