"""Forwards are shared fairly and within their limits; urgent calls first where rows cost time."""

from __future__ import annotations

import pytest

from imagegen.engine.scheduler import Limits
from tests.unit.engine.executor_toys import FULL_DEVICE, Model, Toy, executor_of, run_to_end, steps, submit


def test_only_calls_of_one_batch_key_share() -> None:
    model = Model()
    executor = executor_of(model, Limits())
    for value, batch_key in enumerate("abab"):
        submit(executor, steps(executor, Toy(value, batch_key)))
    run_to_end(executor)
    assert model.groups == [[0, 2], [1, 3]]


def test_batch_keys_take_turns_and_a_lone_one_is_not_starved() -> None:
    """One image of its own kind beside many that keep refilling: it gets every second forward."""
    model = Model()
    executor = executor_of(model, Limits())
    for _ in range(6):
        submit(executor, steps(executor, *[Toy(1, "popular")] * 8))
    submit(executor, steps(executor, *[Toy(9, "lone")] * 8))
    run_to_end(executor)
    assert [group[0] for group in model.groups] == [1, 9] * 8


def test_on_a_full_device_a_short_image_does_not_wait_for_a_long_one() -> None:
    model = Model()
    executor = executor_of(model, Limits(), FULL_DEVICE)
    long = submit(executor, steps(executor, *[Toy(1)] * 50), 50)
    executor.tick()
    short = submit(executor, steps(executor, *[Toy(2)] * 4), 4)
    run_to_end(executor)
    assert model.groups == [[1], *[[2]] * 4, *[[1]] * 49]
    assert [short.result, long.result] == [[4] * 4, [2] * 50]


def test_a_long_image_that_is_nearly_done_is_as_urgent_as_a_short_one() -> None:
    model = Model()
    executor = executor_of(model, Limits(), FULL_DEVICE)
    submit(executor, steps(executor, *[Toy(1)] * 50), 50)
    for _ in range(46):
        executor.tick()
    submit(executor, steps(executor, *[Toy(2)] * 4), 4)
    run_to_end(executor)
    assert model.groups[46:] == [[1, 2]] * 4


def test_an_image_that_makes_more_calls_than_expected_is_done_all_the_same() -> None:
    executor = executor_of(Model(), Limits(), FULL_DEVICE)
    submitted = [submit(executor, steps(executor, *[Toy(1)] * 9), expected) for expected in (1, 4, 100)]
    run_to_end(executor)
    assert [d.result for d in submitted] == [[2] * 9] * 3


def test_a_long_image_with_two_calls_a_step_does_not_become_urgent_half_way() -> None:
    """As with Heun's scheduler: 100 calls of which 50 are expected, when a short image comes."""
    model = Model()
    executor = executor_of(model, Limits(), FULL_DEVICE)
    submit(executor, steps(executor, *[Toy(1)] * 100), 50)
    for _ in range(60):
        executor.tick()
    submit(executor, steps(executor, *[Toy(2)] * 4), 4)
    run_to_end(executor)
    assert model.groups[60:64] == [[2]] * 4


def test_a_long_image_is_not_starved_by_short_ones_that_keep_coming() -> None:
    model = Model()
    executor = executor_of(model, Limits(), FULL_DEVICE)
    submit(executor, steps(executor, *[Toy(1)] * 3), 1000)
    waited = 0
    while not any(1 in group for group in model.groups):
        submit(executor, steps(executor, Toy(2)), 1)
        executor.tick()
        waited += 1
    assert waited == 33  # in the forward after the 32 that went without it


def test_who_is_left_out_does_not_keep_other_batch_keys_from_their_turn() -> None:
    """Short and long of one kind, one of another: the kinds take turns although a long one has waited longest."""
    model = Model()
    executor = executor_of(model, Limits(), FULL_DEVICE)
    submit(executor, steps(executor, *[Toy(1)] * 20), 1000)
    submit(executor, steps(executor, *[Toy(2)] * 4), 4)
    submit(executor, steps(executor, *[Toy(3, "b")] * 4), 4)
    run_to_end(executor)
    assert model.groups[:8] == [[2], [3]] * 4


def test_among_equals_that_do_not_all_fit_those_who_began_go_on() -> None:
    """One after the other, all are done sooner on the average than by turns."""
    model = Model()
    executor = executor_of(model, Limits(max_batch_rows=2))
    for value in range(4):
        submit(executor, steps(executor, *[Toy(value)] * 3), 3)
    run_to_end(executor)
    assert model.groups == [*[[0, 1]] * 3, *[[2, 3]] * 3]


def test_a_call_that_did_not_fit_leads_the_next_forward() -> None:
    model = Model()
    executor = executor_of(model, Limits(max_batch_rows=4))
    for value, rows in ((1, 2), (2, 3), (3, 2), (4, 2)):
        submit(executor, steps(executor, *[Toy(value, rows=rows)] * 2))
    run_to_end(executor)
    # 2 does not fit beside 1, but 3 does; then 2 leads, and nothing fits beside it.
    assert model.groups[:3] == [[1, 3], [2], [4, 1]]


@pytest.mark.parametrize(
    ("limits", "groups"),
    [
        (Limits(max_batch_rows=4), [[0, 1], [2, 3], [4]]),
        (Limits(max_batch_rows=5), [[0, 1], [2, 3], [4]]),
        (Limits(max_batch_rows=100, max_batch_pixels=300), [[0, 1, 2], [3, 4]]),
        (Limits(max_batch_rows=1), [[0], [1], [2], [3], [4]]),  # larger than the bound: runs, alone
        (Limits(max_batch_rows=100, max_batch_pixels=50), [[0], [1], [2], [3], [4]]),
        (Limits(max_batch_rows=100, max_batch_pixels=0), [[0, 1, 2, 3, 4]]),
    ],
)
def test_a_forward_keeps_the_limits(limits: Limits, groups: list[list[int]]) -> None:
    model = Model()
    executor = executor_of(model, limits)
    for value in range(5):
        submit(executor, steps(executor, Toy(value, rows=2, pixels=100)))
    run_to_end(executor)
    assert model.groups == groups
