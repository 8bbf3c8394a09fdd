"""A line is seen wherever it is, and is not forgotten in the moment between two requests."""

from __future__ import annotations

from imagegen.engine.backlog import Backlog


def test_nobody_waits_at_first() -> None:
    assert not Backlog().seen()


def test_a_line_of_this_process_is_seen_and_remembered_for_some_forwards() -> None:
    backlog = Backlog()
    waiting = 3
    backlog.waiting = lambda: waiting
    assert [backlog.seen() for _ in range(9)] == [True] * 9
    waiting = 0
    assert [backlog.seen() for _ in range(6)] == [True, True, True, False, False, False]


def test_a_line_of_another_process_counts_as_well() -> None:
    backlog = Backlog()
    backlog.waits_elsewhere = True
    assert backlog.seen()
    backlog.waits_elsewhere = False
    assert [backlog.seen() for _ in range(5)] == [True, True, True, False, False]
