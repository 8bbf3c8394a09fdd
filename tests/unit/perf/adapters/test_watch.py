"""Times between forwards count as those while something was read when they have a moment in common."""

from __future__ import annotations

import math

from perf.adapters.watch import gaps, overlaps, resident_bytes


def test_gaps_are_told_apart_by_what_was_read() -> None:
    forwards = [(0.0, 1.0), (1.5, 2.0), (2.1, 2.2), (5.0, 5.1)]
    found = gaps(forwards, [(1.4, 1.45)])
    assert round(found.longest_forward) == 1000
    assert round(found.longest_reading) == 500
    assert round(found.longest_other) == 2800
    assert (found.forwards, found.readings) == (4, 1)


def test_nothing_has_no_length() -> None:
    found = gaps([], [])
    assert math.isnan(found.longest_forward)
    assert math.isnan(found.longest_reading)


def test_intervals_that_touch_do_not_overlap() -> None:
    assert overlaps((0.0, 2.0), [(5.0, 6.0), (1.0, 1.5)])
    assert not overlaps((0.0, 2.0), [(2.0, 3.0)])


def test_there_is_memory() -> None:
    assert resident_bytes() > 2**20
