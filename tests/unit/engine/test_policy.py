"""Calls share a forward as far as it pays: by what a row costs, and by how much each image has left to do."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen.engine.policy import AMORTIZATION, Prefer, WeightedShortestProcessingTime

POLICY = WeightedShortestProcessingTime()
SHORT, LONG = POLICY.urgency(4, 0), POLICY.urgency(50, 0)
FULL, NOT_FULL = 0.5, 14.0


def sharing(urgencies: list[float], rows: list[int], fixed_rows: float) -> int:
    """How many share on a device where a forward costs as much as so many rows, whatever its size."""
    return WeightedShortestProcessingTime(lambda batch_key: fixed_rows).sharing(urgencies, rows, "a")


def test_whoever_is_sooner_done_is_more_urgent() -> None:
    urgencies = [POLICY.urgency(calls_left, 0) for calls_left in range(1, 100)]
    assert urgencies == sorted(urgencies, reverse=True)
    assert len(set(urgencies)) == len(urgencies)


def test_who_was_left_out_for_long_goes_before_all_others() -> None:
    assert POLICY.urgency(1000, 31) < POLICY.urgency(1, 0) < POLICY.urgency(1000, 32) == POLICY.urgency(1, 1000)


@given(st.integers(1, 64), st.sampled_from([1, 2, 3]), st.floats(0, 1000))
def test_equally_urgent_calls_all_share_whatever_a_row_costs(count: int, rows: int, fixed_rows: float) -> None:
    assert sharing([LONG] * count, [rows] * count, fixed_rows) == count


def test_all_share_where_rows_are_not_known_to_cost_anything() -> None:
    assert sharing([SHORT, LONG, POLICY.urgency(1000, 0)], [2, 2, 1000], math.inf) == 3


def test_a_full_device_leaves_long_images_out_of_a_short_ones_forward() -> None:
    assert sharing([SHORT, SHORT, LONG, LONG], [2] * 4, FULL) == 2


def test_a_device_that_is_not_full_takes_everybody() -> None:
    assert sharing([SHORT, SHORT, LONG, LONG], [2] * 4, NOT_FULL) == 4


def test_a_call_of_many_rows_is_left_out_where_one_of_few_would_join() -> None:
    assert sharing([SHORT, LONG], [2, 1], 4) == 2
    assert sharing([SHORT, LONG], [2, 8], 4) == 1


@pytest.mark.parametrize("fixed_rows", [0.0, 5.0])
def test_the_group_has_the_most_urgency_per_row(fixed_rows: float) -> None:
    """Compared with every other number of calls, a forward's fixed cost counted as often as `amortization` says."""
    urgencies = [POLICY.urgency(left, 0) for left in (1, 3, 3, 10, 40, 50, 50)]
    worth = [
        sum(urgencies[:count]) / (POLICY.amortization * fixed_rows + 2 * count)
        for count in range(1, len(urgencies) + 1)
    ]
    assert worth[sharing(urgencies, [2] * 7, fixed_rows) - 1] == max(worth)


def test_a_device_is_asked_about_the_batch_key_of_the_calls() -> None:
    fixed_rows: dict[Hashable, float] = {"full": FULL, "not full": NOT_FULL}
    policy = WeightedShortestProcessingTime(fixed_rows.__getitem__)
    urgencies, rows = [SHORT, SHORT, LONG, LONG], [2] * 4
    assert [policy.sharing(urgencies, rows, key) for key in ("full", "not full")] == [2, 4]


def test_while_somebody_waits_for_a_slot_forwards_are_filled() -> None:
    waits = True
    policy = WeightedShortestProcessingTime(lambda batch_key: FULL, line=lambda: waits)
    assert policy.sharing([SHORT, SHORT, LONG, LONG], [2] * 4, "a") == 4
    waits = False
    assert policy.sharing([SHORT, SHORT, LONG, LONG], [2] * 4, "a") == 2


def test_each_preference_shares_at_least_as_far_as_the_one_before() -> None:
    """On a device between full and not full, a forward's fixed cost as much as two rows."""
    urgencies, rows = [SHORT, *[POLICY.urgency(left, 0) for left in (10, 20, 30, 50)]], [2] * 5
    shared = [
        WeightedShortestProcessingTime(lambda batch_key: 2.0, amortization=AMORTIZATION[prefer]).sharing(
            urgencies, rows, "a"
        )
        for prefer in get_args(Prefer)
    ]
    assert shared == [2, 4, 5]
    assert list(AMORTIZATION) == list(get_args(Prefer))


def test_who_prefers_throughput_fills_forwards_also_where_a_forward_costs_nothing_but_its_rows() -> None:
    policy = WeightedShortestProcessingTime(lambda batch_key: 0.0, amortization=AMORTIZATION["throughput"])
    assert policy.sharing([SHORT, LONG], [2, 2], "a") == 2
