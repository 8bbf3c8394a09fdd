"""A cancel means every request of a name that had come by then, also where it is not seen yet, and no later one."""

from __future__ import annotations

import time

import pytest

from imagegen.engine import cancelled_names
from imagegen.engine.cancelled_names import CancelledNames


def test_a_cancel_means_what_came_before_it_and_nothing_later() -> None:
    names = CancelledNames()
    before = time.monotonic()
    names.cancel("a")
    after = time.monotonic() + 1e-6
    assert names.include({"a"}, before)
    assert names.include({"b", "a"}, before)
    assert not names.include({"a"}, after)
    assert not names.include({"b"}, before)
    assert not names.include(set(), before)


def test_a_later_cancel_counts() -> None:
    names = CancelledNames()
    names.cancel("a")
    between = time.monotonic()
    names.cancel("a")
    assert names.include({"a"}, between)


def test_whether_a_request_is_known_is_told_for_each_of_its_names_until_the_last_of_them_has_ended() -> None:
    names = CancelledNames()
    names.take({"a", "x"})
    names.take({"a", "y"})
    names.end({"a", "x"})
    assert names.cancel("a")
    assert names.cancel("y")
    assert not names.cancel("x")
    names.end({"a", "y"})
    assert not names.cancel("a")


def test_the_oldest_names_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancelled_names, "_MOST_REMEMBERED", 2)
    names = CancelledNames()
    for name in ("a", "b", "a", "c"):
        names.cancel(name)
    assert [names.include({name}, 0) for name in ("a", "b", "c")] == [True, False, True]
