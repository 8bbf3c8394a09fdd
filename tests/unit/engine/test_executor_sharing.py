"""Runs of one forward share what they do between two forwards; nobody waits for a run that was not in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from imagegen.engine.executor import Executor
from imagegen.engine.scheduler import Limits
from tests.unit.engine.executor_toys import Model, Stopped, Toy, executor_of, run_to_end, submit
from tests.unit.engine.test_shared_task import Doubling


@pytest.fixture
def executor() -> Executor:
    return executor_of(Model(), Limits())


def looped(executor: Executor, log: list[list[int]], value: int, steps: int, **options: Any) -> Callable[[], list[int]]:
    """An image's work: so many steps, each a call and then a task with its output."""
    return lambda: [
        executor.share(Doubling(executor.call(Toy(value * 10 + step)), log, **options)) for step in range(steps)
    ]


def test_the_runs_of_a_forward_do_their_tasks_as_one(executor: Executor) -> None:
    log: list[list[int]] = []
    images = [submit(executor, looped(executor, log, value, 2)) for value in (1, 2, 3)]
    run_to_end(executor)
    assert [image.result for image in images] == [[40, 44], [80, 84], [120, 124]]
    assert log == [[20, 40, 60], [22, 42, 62]]


def test_a_run_that_is_alone_in_its_forward_is_not_suspended(executor: Executor) -> None:
    log: list[list[int]] = []
    image = submit(executor, looped(executor, log, 1, 3))
    assert run_to_end(executor) == 3
    assert image.result == [40, 44, 48]
    assert log == [[20], [22], [24]]


def test_tasks_that_differ_are_done_in_the_same_tick(executor: Executor) -> None:
    log: list[list[int]] = []
    images = [
        submit(executor, looped(executor, log, value, 1, key=key)) for value, key in ((1, "a"), (2, "b"), (3, "a"))
    ]
    run_to_end(executor)
    assert [image.result for image in images] == [[40], [80], [120]]
    assert log == [[20, 60], [40]]


def test_a_run_may_share_several_times_between_two_forwards(executor: Executor) -> None:
    log: list[list[int]] = []

    def twice(value: int) -> Callable[[], int]:
        def run() -> int:
            output = executor.call(Toy(value))
            return int(executor.share(Doubling(executor.share(Doubling(output, log)), log)))

        return run

    images = [submit(executor, twice(value)) for value in (1, 2)]
    run_to_end(executor)
    assert [image.result for image in images] == [8, 16]
    assert log == [[2, 4], [4, 8]]


def test_a_task_that_fails_ends_its_run_alone(executor: Executor) -> None:
    log: list[list[int]] = []
    good = submit(executor, looped(executor, log, 1, 2))
    bad = submit(executor, looped(executor, log, 2, 2, bad=True))
    run_to_end(executor)
    assert good.result == [40, 44]
    assert str(bad.error) == "cannot double 40"


def test_a_run_that_is_stopped_leaves_the_others_their_tasks(executor: Executor) -> None:
    log: list[list[int]] = []
    images = [submit(executor, looped(executor, log, value, 3)) for value in (1, 2)]
    executor.tick()
    images[0].stop_with = Stopped()
    run_to_end(executor)
    assert isinstance(images[0].error, Stopped)
    assert images[1].result == [80, 84, 88]
    assert log == [[20, 40], [42], [44]]


def test_what_breaks_the_tick_leaves_no_run_without_an_end(executor: Executor) -> None:
    class Interrupted(Doubling):
        def together(self, tasks: Sequence[Any]) -> list[int]:
            raise KeyboardInterrupt

    images = [submit(executor, lambda: executor.share(Interrupted(executor.call(Toy()), []))) for _ in range(2)]
    with pytest.raises(KeyboardInterrupt):
        executor.tick()
    error = Stopped()
    executor.abandon(error)
    assert [image.error for image in images] == [error, error]
    assert executor.active == 0
