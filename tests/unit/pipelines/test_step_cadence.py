"""The cadence keeps its ends and its longest pause."""

from __future__ import annotations

import pytest

from imagegen.pipelines.step_cadence import LEAST_STEPS, LONGEST_INTERVAL, computed_steps, is_computed


def places(total: int, interval: int) -> str:
    """A sign for each step: C is computed, - is forecast."""
    return "".join("C" if is_computed(number, total, interval) else "-" for number in range(total))


@pytest.mark.parametrize(
    ("interval", "expected"),
    [(1, "CCCCCCCCCCCC"), (2, "CCC-C-C-C-CC"), (3, "CCC--C--C-CC"), (5, "CCC----C--CC")],
)
def test_the_first_three_the_last_two_and_one_of_so_many_are_computed(interval: int, expected: str) -> None:
    assert places(12, interval) == expected
    assert computed_steps(12, interval) == expected.count("C")


@pytest.mark.parametrize("interval", range(1, LONGEST_INTERVAL + 1))
def test_no_pause_is_longer_than_four_steps(interval: int) -> None:
    for total in range(1, 120):
        signs = places(total, interval)
        assert "-" * interval not in signs
        assert signs[:3] == "CCC"[:total]
        assert signs[-2:] == "CC"[:total]


def test_fifty_steps_take_twenty_seven_twenty_and_fourteen_forwards() -> None:
    assert [computed_steps(50, interval) for interval in (1, 2, 3, 5)] == [50, 27, 20, 14]


def test_the_least_number_of_steps_saves_something() -> None:
    assert computed_steps(LEAST_STEPS, 2) < LEAST_STEPS
