"""A call that fails or takes too much memory is found, and its neighbours do not notice."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any

import pytest

from imagegen.engine.executor import Executor
from imagegen.engine.scheduler import Limits
from tests.unit.engine.executor_toys import Model, Toy, executor_of, run_to_end, steps, submit


@pytest.mark.parametrize("bad", [[0], [3], [7], [2, 5], [0, 1, 2, 3, 4, 5, 6, 7]])
def test_a_call_that_fails_is_found_by_halving_and_its_neighbours_get_their_outputs(bad: list[int]) -> None:
    executor = executor_of(Model(bad=frozenset(bad)), Limits())
    submitted = [submit(executor, steps(executor, Toy(i))) for i in range(8)]
    run_to_end(executor)
    for value, each in enumerate(submitted):
        if value in bad:
            assert str(each.error) == f"cannot stand {value}"
        else:
            assert each.result == [2 * value]
    assert executor.isolation_retries == (3 if len(bad) == 1 else 7 if len(bad) == 8 else 5)


def test_an_image_may_handle_the_failure_of_its_call_and_go_on() -> None:
    executor = executor_of(Model(bad=frozenset([5])), Limits())

    def resourceful() -> Any:
        try:
            return executor.call(Toy(5))
        except ValueError:
            return executor.call(Toy(6))

    submitted = submit(executor, resourceful)
    run_to_end(executor)
    assert submitted.result == 12


def test_the_error_of_a_call_shows_where_in_the_model_and_in_the_image_it_came_from() -> None:
    """The server's log is all that is left of it."""

    def deep_in_the_model(calls: Sequence[Toy]) -> list[int]:
        raise ValueError

    def in_the_run() -> None:
        executor.call(Toy())

    executor = executor_of(deep_in_the_model, Limits())
    submitted = submit(executor, in_the_run)
    run_to_end(executor)
    functions = [frame.name for frame in traceback.extract_tb(submitted.error.__traceback__)]
    assert {"in_the_run", "deep_in_the_model"} <= set(functions)


@pytest.mark.parametrize("outputs", [[], [1], [1, 2, 3]])
def test_a_wrong_number_of_outputs_is_a_failure_and_nobody_gets_anothers_output(outputs: list[int]) -> None:
    def forward(calls: Sequence[Toy]) -> list[int]:
        return [2 * calls[0].value] if len(calls) == 1 else outputs

    executor = executor_of(forward, Limits())
    submitted = [submit(executor, steps(executor, Toy(value))) for value in (4, 5)]
    run_to_end(executor)
    assert [d.result for d in submitted] == [[8], [10]]
    nothing = executor_of(lambda calls: [], Limits())
    alone = submit(nothing, steps(nothing, Toy(1)))
    run_to_end(nothing)
    assert str(alone.error) == "0 outputs for 1 calls"


def test_out_of_memory_lowers_the_row_limit_and_nobody_fails() -> None:
    model = Model(capacity=5)
    executor = executor_of(model, Limits(max_batch_rows=16))
    submitted = [submit(executor, steps(executor, *[Toy(i)] * 4)) for i in range(16)]
    run_to_end(executor)
    assert [d.result for d in submitted] == [[2 * i] * 4 for i in range(16)]
    assert executor.row_limit == 4  # 16 rows fail, 8 fail, 4 fit
    assert executor.isolation_retries == 3  # both halves of the first 16 were tried before the limit was known
    assert max(len(group) for group in model.groups) == 4


def test_the_row_limit_grows_back_by_one_row_after_a_while_without_out_of_memory() -> None:
    model = Model(capacity=4)
    executor = executor_of(model, Limits(max_batch_rows=8))
    images = [submit(executor, steps(executor, *[Toy(i)] * 500)) for i in range(8)]
    executor.tick()
    assert executor.row_limit == 4
    model.capacity = 1000
    limits = []
    while executor.tick():
        limits.append(executor.row_limit)
    assert sorted(set(limits)) == [4, 5, 6, 7, 8]
    assert limits == sorted(limits)
    assert [limits.count(limit) for limit in (5, 6, 7)] == [Executor.REGROW_AFTER] * 3
    assert all(len(image.result) == 500 for image in images)


def test_a_call_that_is_out_of_memory_by_itself_fails_alone() -> None:
    executor = executor_of(Model(capacity=4), Limits(max_batch_rows=8))
    large, small = submit(executor, steps(executor, Toy(1, rows=6))), submit(executor, steps(executor, Toy(2, rows=2)))
    run_to_end(executor)
    assert isinstance(large.error, MemoryError)
    assert small.result == [4]
