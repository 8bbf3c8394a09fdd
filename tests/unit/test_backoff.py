"""A first failure costs no wait, further ones in a row ever longer ones, up to a bound."""

from __future__ import annotations

from imagegen.backoff import Backoff


def test_waits_double_from_the_second_failure_in_a_row_up_to_the_longest() -> None:
    waits = [Backoff().wait_s(failures) for failures in range(1, 11)]
    assert waits == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert Backoff(first_s=0.5, most_s=3.0).wait_s(10**9) == 3.0
