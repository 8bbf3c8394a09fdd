"""How a forward's time grows with its rows is learnt from the forwards that run."""

from __future__ import annotations

import math

import pytest
import torch

from forward_costs import ForwardCosts, fixed_rows_of


@pytest.fixture
def costs() -> ForwardCosts:
    return ForwardCosts(torch.device("cpu"))


def test_the_fixed_cost_is_told_in_rows() -> None:
    assert fixed_rows_of({2: 0.010, 4: 0.014, 16: 0.038}) == pytest.approx(3)  # 6 ms, and 2 ms a row


@pytest.mark.parametrize("seconds", [{}, {2: 0.01}, {2: 0.01, 8: 0.01}, {2: 0.02, 8: 0.01}])
def test_without_a_rising_line_rows_cost_nothing(seconds: dict[int, float]) -> None:
    assert fixed_rows_of(seconds) == math.inf


def test_more_than_proportional_costs_leave_no_fixed_cost() -> None:
    assert fixed_rows_of({2: 0.01, 4: 0.03}) == 0


def test_signatures_are_kept_apart(costs: ForwardCosts) -> None:
    for rows in (2, 4):
        costs.note("small", rows, 0.010 + rows * 0.001)
        costs.note("large", rows, 0.010 + rows * 0.010)
    assert costs.fixed_rows("small") == pytest.approx(10)
    assert costs.fixed_rows("large") == pytest.approx(1)
    assert costs.fixed_rows("never seen") == math.inf


def test_a_first_forward_that_compiles_is_forgotten_by_the_third(costs: ForwardCosts) -> None:
    costs.note("a", 2, 30.0)
    for _ in range(2):
        costs.note("a", 2, 0.010)
    costs.note("a", 4, 0.014)
    assert costs.fixed_rows("a") == pytest.approx(3)


def test_what_has_become_slower_is_learnt_anew(costs: ForwardCosts) -> None:
    for _ in range(5):
        costs.note("a", 2, 0.010)
        costs.note("a", 4, 0.014)
    for _ in range(3):
        costs.note("a", 4, 0.018)
    assert costs.fixed_rows("a") == pytest.approx(0.5)


def test_a_forward_is_timed_while_it_runs(costs: ForwardCosts, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1.0, 1.010, 2.0, 2.014])
    monkeypatch.setattr("forward_costs.time.perf_counter", lambda: next(clock))
    for rows in (2, 4):
        with costs.timed("a", rows):
            pass
    assert costs.fixed_rows("a") == pytest.approx(3)


def test_a_forward_that_raises_tells_nothing(costs: ForwardCosts) -> None:
    costs.note("a", 2, 0.010)
    with pytest.raises(MemoryError), costs.timed("a", 4):
        raise MemoryError
    assert costs.fixed_rows("a") == math.inf


def test_signatures_of_long_ago_are_forgotten(costs: ForwardCosts) -> None:
    for signature in ("first", "in use", *range(300)):
        for rows in (2, 4):
            costs.note(signature, rows, 0.010 + rows * 0.001)
            costs.note("in use", rows, 0.010 + rows * 0.001)
    assert costs.fixed_rows("first") == math.inf
    assert costs.fixed_rows("in use") == pytest.approx(10)
    assert costs.fixed_rows(299) == pytest.approx(10)
