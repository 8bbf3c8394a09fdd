"""A soak fails when something grows or a request fails, and not when things come and go."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from perf.soak_report import Sample, growth_percent, soak_report

SURROUNDINGS: dict[str, Any] = {"cpu": "abacus, 2 beads", "command": "python -m perf", "versions": {"torch": "2"}}
FLAT: Callable[[int], int] = lambda _: 100  # noqa: E731


def soak(
    failures: list[str] | None = None,
    seconds: int = 600,
    rss: Callable[[int], int] = FLAT,
    threads: Callable[[int], int] = FLAT,
) -> tuple[str, dict[str, Any]]:
    samples = [Sample(float(at), at, rss(at), threads(at), 10, 4, 0) for at in range(0, seconds, 5)]
    return soak_report(SURROUNDINGS, {}, samples, failures or [], seconds / 10)


def test_growth_follows_the_straight_line() -> None:
    assert growth_percent([(0, 100), (1, 105), (2, 110)]) == pytest.approx(10)
    assert growth_percent([(0, 100), (1, 120), (2, 100)]) == pytest.approx(0)
    assert growth_percent([(0, 0), (1, 0)]) == 0
    assert math.isnan(growth_percent([(0, 100)]))


def test_nothing_that_grows_is_well() -> None:
    markdown, raw = soak(threads=lambda at: 100 + at % 3)
    assert raw["met"]
    assert "sockets: met" in markdown


def test_memory_of_the_first_minute_does_not_count() -> None:
    assert soak(rss=lambda at: 100 if at < 60 else 200)[1]["met"]


def test_memory_that_grows_is_not_met() -> None:
    markdown, raw = soak(rss=lambda at: 10_000 + at)
    assert not raw["met"]
    assert "NOT met" in markdown


def test_threads_that_grow_are_named() -> None:
    markdown, raw = soak(threads=lambda at: 100 + at // 100)
    assert raw["grown"] == ["threads"]
    assert "growing: threads" in markdown


def test_a_failed_request_fails_a_short_soak_too() -> None:
    assert soak(seconds=20)[1]["met"]
    assert "too short for a verdict" in soak(seconds=20)[0]
    assert not soak(["lost"], seconds=20)[1]["met"]
