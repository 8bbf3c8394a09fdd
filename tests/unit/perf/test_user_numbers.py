"""Users come along a ramp, burst in once, and the test ends when it should."""

from __future__ import annotations

from perf.user_numbers import BURST, users_at

CROWD, DURATION_S = 10, 100.0


def numbers() -> list[int | None]:
    return [users_at(second, CROWD, DURATION_S) for second in range(120)]


def test_there_is_always_a_user_until_the_end() -> None:
    assert all(users is not None and users >= 1 for users in numbers()[:100])
    assert set(numbers()[100:]) == {None}


def test_the_ramp_only_rises_to_the_crowd() -> None:
    ramp = [users for users in numbers()[:50] if users is not None]
    assert ramp == sorted(ramp)
    assert (ramp[0], ramp[15], ramp[-1]) == (1, CROWD // 2, CROWD)


def test_the_burst_comes_at_once_and_goes() -> None:
    assert numbers()[49:51] == [CROWD, BURST * CROWD]
    assert numbers()[69:71] == [BURST * CROWD, CROWD]
    assert numbers().count(BURST * CROWD) == 20


def test_one_user_is_enough() -> None:
    assert users_at(0, 1, 10) == users_at(9, 1, 10) == 1
