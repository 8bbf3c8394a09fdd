"""The comparison fits into its time, whatever the machine can do."""

from __future__ import annotations

import pytest

from perf.peer_plan import plan_rounds


@pytest.mark.parametrize("capacity_per_s", [0.5, 2.0, 20.0])
@pytest.mark.parametrize("servers", [2, 6])
def test_all_rounds_fit_into_the_time(capacity_per_s: float, servers: int) -> None:
    plan = plan_rounds(capacity_per_s, servers, 0.8, 8, 2, 400)
    open_s = plan.requests / plan.rate_per_s
    slowest_closed_s = plan.clients * plan.each / capacity_per_s
    assert 2 * (servers * open_s + slowest_closed_s) <= 400
    assert plan.rate_per_s == pytest.approx(0.8 * capacity_per_s)


def test_more_time_is_more_requests() -> None:
    short, long = (plan_rounds(2.0, 6, 0.8, 8, 2, seconds) for seconds in (200, 800))
    assert long.requests > 3 * short.requests
    assert long.each > 3 * short.each


def test_too_little_time_still_has_requests_of_both_kinds() -> None:
    plan = plan_rounds(0.1, 6, 0.8, 8, 2, 1)
    assert plan.each == 1
    assert plan.requests >= 4
