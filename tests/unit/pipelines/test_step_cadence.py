"""The cadence keeps its ends and its longest pause."""

from __future__ import annotations

import pytest

from imagegen.pipelines.step_cadence import LEAST_STEPS, LONGEST_INTERVAL, computed_steps, is_computed


def places(total: int, interval: int) -> str:
    """A sign for each step: C is computed, - is forecast."""
    return "".join("C" if is_computed(number, total, interval) else "-" for number in range(total))


@pytest.mark.parametrize(
    ("interval", "expected"),
    [(1, "CCCCCCCCCCCC"), (2, "CCCCC-C-C-CC"), (3, "CCCCC--C--CC"), (5, "CCCCC----CCC")],
)
def test_the_first_five_the_last_two_and_one_of_so_many_are_computed(interval: int, expected: str) -> None:
    assert places(12, interval) == expected
    assert computed_steps(12, interval) == expected.count("C")


@pytest.mark.parametrize("interval", range(1, LONGEST_INTERVAL + 1))
def test_no_pause_is_longer_than_four_steps(interval: int) -> None:
    for total in range(1, 120):
        signs = places(total, interval)
        assert "-" * interval not in signs
        assert signs[:5] == "CCCCC"[:total]
        assert signs[-2:] == "CC"[:total]
        assert computed_steps(total, interval) == signs.count("C")


def test_fifty_steps_take_twenty_eight_twenty_one_and_fifteen_forwards() -> None:
    assert [computed_steps(50, interval) for interval in (1, 2, 3, 5)] == [50, 28, 21, 15]


def test_the_least_number_of_steps_saves_something() -> None:
    assert computed_steps(LEAST_STEPS, 2) < LEAST_STEPS
