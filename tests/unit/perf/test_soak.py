"""A soak fails when something grows or a request fails, and not when things come and go."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from perf.process_tree import Holding
from perf.report import Section
from perf.soak import Sample, Settings, growth_percent, section

FLAT: Callable[[int], int] = lambda _: 100  # noqa: E731


def soak(
    failures: list[str] | None = None,
    seconds: int = 600,
    rss: Callable[[int], int] = FLAT,
    threads: Callable[[int], int] = FLAT,
) -> Section:
    samples = [Sample(float(at), at, Holding(rss(at), threads(at), 10, 4, 0)) for at in range(0, seconds, 5)]
    return section(Settings(seconds=seconds), samples, failures or [], {})


def test_growth_follows_the_straight_line() -> None:
    assert growth_percent([(0, 100), (1, 105), (2, 110)]) == pytest.approx(10)
    assert growth_percent([(0, 100), (1, 120), (2, 100)]) == pytest.approx(0)
    assert growth_percent([(0, 0), (1, 0)]) == 0
    assert math.isnan(growth_percent([(0, 100)]))


def test_nothing_that_grows_is_well() -> None:
    [target] = soak(threads=lambda at: 100 + at % 3).targets
    assert target.met
    assert "growing: nothing" in target.reached


def test_memory_of_the_first_minute_does_not_count() -> None:
    assert soak(rss=lambda at: 100 if at < 60 else 200).targets[0].met


def test_memory_that_grows_is_not_met() -> None:
    assert soak(rss=lambda at: 10_000 + at).targets[0].met is False


def test_threads_that_grow_are_named() -> None:
    [target] = soak(threads=lambda at: 100 + at // 100).targets
    assert target.met is False
    assert "growing: threads" in target.reached


def test_a_short_soak_has_no_verdict_but_a_failed_request_fails_it() -> None:
    assert soak(seconds=20).targets[0].met is None
    assert soak(["lost"], seconds=20).faults == ["lost"]
