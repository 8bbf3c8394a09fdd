"""A forward is shared with whom it is worth it: by how much a row costs, and how much each image has left to do."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen.engine.sharing import FUTURE, urgency, worth_sharing

SHORT, LONG = urgency(4, 0), urgency(50, 0)
FULL, NOT_FULL = 0.5, 14.0


def test_whoever_is_sooner_done_is_more_urgent() -> None:
    urgencies = [urgency(calls_left, 0) for calls_left in range(1, 100)]
    assert urgencies == sorted(urgencies, reverse=True)
    assert len(set(urgencies)) == len(urgencies)


def test_who_was_left_out_for_long_goes_before_all_others() -> None:
    assert urgency(1000, 31) < urgency(1, 0) < urgency(1000, 32) == urgency(1, 1000)


@given(st.integers(1, 64), st.sampled_from([1, 2, 3]), st.floats(0, 1000))
def test_equally_urgent_calls_all_share_whatever_a_row_costs(count: int, rows: int, fixed_rows: float) -> None:
    assert worth_sharing([LONG] * count, [rows] * count, fixed_rows) == count


def test_all_share_where_rows_are_not_known_to_cost_anything() -> None:
    assert worth_sharing([SHORT, LONG, urgency(1000, 0)], [2, 2, 1000], math.inf) == 3


def test_a_full_device_leaves_long_images_out_of_a_short_ones_forward() -> None:
    assert worth_sharing([SHORT, SHORT, LONG, LONG], [2] * 4, FULL) == 2


def test_a_device_that_is_not_full_takes_everybody() -> None:
    assert worth_sharing([SHORT, SHORT, LONG, LONG], [2] * 4, NOT_FULL) == 4


def test_a_call_of_many_rows_is_left_out_where_one_of_few_would_join() -> None:
    assert worth_sharing([SHORT, LONG], [2, 1], 4) == 2
    assert worth_sharing([SHORT, LONG], [2, 8], 4) == 1


@pytest.mark.parametrize("fixed_rows", [0.0, 5.0])
def test_the_group_has_the_most_urgency_per_row(fixed_rows: float) -> None:
    """Compared with every other number of calls, a forward's fixed cost counted as often as `FUTURE` says."""
    urgencies = [urgency(left, 0) for left in (1, 3, 3, 10, 40, 50, 50)]
    worth = [sum(urgencies[:count]) / (FUTURE * fixed_rows + 2 * count) for count in range(1, len(urgencies) + 1)]
    assert worth[worth_sharing(urgencies, [2] * 7, fixed_rows) - 1] == max(worth)
