"""Images share their forwards, join and leave at any step, and whatever one does, the others do not notice."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from imagegen.engine.pipeline_run import PipelineRun
from imagegen.engine.scheduler import Limits
from tests.unit.engine.executor_toys import Model, Stopped, Toy, executor_of, run_to_end, steps, submit


def test_images_share_their_forwards_and_each_gets_its_own_outputs() -> None:
    model = Model()
    executor = executor_of(model, Limits())
    submitted = [submit(executor, steps(executor, Toy(i), Toy(10 + i), Toy(20 + i))) for i in range(4)]
    assert executor.active == 4
    assert run_to_end(executor) == 3
    assert model.groups == [[0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23]]
    assert [d.result for d in submitted] == [[2 * i, 20 + 2 * i, 40 + 2 * i] for i in range(4)]


def test_an_image_joins_and_another_leaves_between_any_two_steps() -> None:
    model = Model()
    executor = executor_of(model, Limits())
    first = submit(executor, steps(executor, *[Toy(1)] * 4))
    executor.tick()
    second = submit(executor, steps(executor, *[Toy(2)] * 2))
    executor.tick()
    third = submit(executor, steps(executor, *[Toy(3)] * 3))
    run_to_end(executor)
    assert list(map(sorted, model.groups)) == [[1], [1, 2], [1, 2, 3], [1, 3], [3]]
    assert [first.result, second.result, third.result] == [[2] * 4, [4] * 2, [6] * 3]


def test_an_image_without_calls_ends_in_the_tick_it_starts() -> None:
    executor = executor_of(Model(), Limits())
    submitted = submit(executor, lambda: "done")
    assert executor.tick()
    assert submitted.result == "done"
    assert not executor.tick()


def test_a_stopped_image_leaves_within_one_tick_and_its_cleanup_runs() -> None:
    model = Model()
    executor = executor_of(model, Limits())
    cleaned: list[str] = []

    def careful() -> None:
        try:
            steps(executor, *[Toy(1)] * 10)()
        finally:
            cleaned.append("up")

    stopped, other = submit(executor, careful), submit(executor, steps(executor, *[Toy(2)] * 3))
    executor.tick()
    stopped.stop_with = Stopped()
    executor.tick()
    assert stopped.error is stopped.stop_with
    assert cleaned == ["up"]
    assert executor.active == 1
    run_to_end(executor)
    assert model.groups == [[1, 2], [2], [2]]
    assert other.result == [4] * 3


def test_an_image_that_is_stopped_before_it_starts_never_runs() -> None:
    executor = executor_of(Model(), Limits())
    ran: list[int] = []
    submitted = submit(executor, lambda: ran.append(1))
    submitted.stop_with = Stopped()
    executor.tick()
    assert submitted.error is submitted.stop_with
    assert not ran


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), RuntimeError("bug"), StopIteration()])
def test_whatever_an_image_raises_ends_that_image_alone(error: BaseException) -> None:
    executor = executor_of(Model(), Limits())

    def bad() -> None:
        executor.call(Toy(1))
        raise error

    failed, other = submit(executor, bad), submit(executor, steps(executor, Toy(2), Toy(3)))
    run_to_end(executor)
    assert failed.error is error
    assert other.result == [4, 6]


def test_an_image_that_swallows_its_end_is_told_again_at_every_step_and_may_finish() -> None:
    model = Model()
    executor = executor_of(model, Limits())
    swallowed: list[BaseException] = []

    def stubborn() -> str:
        for _ in range(3):
            try:
                executor.call(Toy(1))
            except Stopped as error:
                swallowed.append(error)
        return "finished"

    submitted, other = submit(executor, stubborn), submit(executor, steps(executor, *[Toy(2)] * 5))
    executor.tick()
    submitted.stop_with = Stopped()
    run_to_end(executor)
    assert submitted.result == "finished"
    assert swallowed
    assert other.result == [4] * 5


def test_abandon_ends_everything_also_what_did_not_start_or_will_not_end() -> None:
    executor = executor_of(Model(), Limits())

    def stubborn() -> None:
        while True:
            try:
                executor.call(Toy(1))
            except Stopped:
                continue

    submitted = [submit(executor, stubborn), submit(executor, steps(executor, *[Toy(2)] * 5))]
    executor.tick()
    submitted.append(submit(executor, steps(executor, Toy(3))))
    stopped = Stopped()
    executor.abandon(stopped)
    assert [each.error for each in submitted] == [stopped] * 3
    assert executor.active == 0
    assert not executor.tick()
    again = submit(executor, steps(executor, Toy(4)))
    run_to_end(executor)
    assert again.result == [8]


def test_an_executor_that_broke_can_be_abandoned_and_loses_nobody() -> None:
    """A batch key that cannot be compared breaks the tick itself, with images in every state."""

    class Incomparable:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("not comparable")

        __hash__ = None  # type: ignore[assignment]

    executor = executor_of(Model(), Limits())
    submitted = [submit(executor, steps(executor, Toy(i))) for i in range(3)]
    submitted.append(submit(executor, lambda: executor.call(Toy(9, batch_key=Incomparable()))))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="not comparable"):
        executor.tick()
    stopped = Stopped()
    executor.abandon(stopped)
    assert [each.error for each in submitted] == [stopped] * 4
    assert executor.active == 0


def test_a_call_outside_any_image_runs_at_once() -> None:
    model = Model()
    executor = executor_of(model, Limits())
    suspended = submit(executor, steps(executor, Toy(1), Toy(2)))
    executor.tick()
    assert executor.call(Toy(21)) == 42
    run_to_end(executor)
    assert suspended.result == [2, 4]
    assert model.groups == [[1], [21], [2]]


@pytest.mark.parametrize("how", ["finishes", "fails", "call fails", "is stopped", "is abandoned"])
def test_what_an_image_held_is_free_at_once_when_it_ends(how: str) -> None:
    """Without waiting for the garbage collector: an image's latents and a failed forward's tensors are large."""

    class Latents:
        """Something large that an image holds between its calls."""

    def generate() -> None:
        latents = Latents()
        held.append(weakref.ref(latents))
        executor.call(Toy(5 if how == "call fails" else 1))
        if how == "fails":
            raise ValueError
        executor.call(Toy(2))
        del latents

    held: list[weakref.ref[Latents]] = []
    errors: list[str] = []
    stop: list[Exception] = []
    executor = executor_of(Model(bad=frozenset([5])), Limits())
    gc.collect()
    gc.disable()
    try:
        executor.submit(
            PipelineRun(
                generate, lambda _, error: errors.append(type(error).__name__), lambda: stop[0] if stop else None
            )
        )
        executor.tick()
        if how == "is stopped":
            stop.append(Stopped())
            executor.tick()
            stop.clear()
        if how == "is abandoned":
            executor.abandon(Stopped())
        while executor.tick():
            pass
        assert held[0]() is None
    finally:
        gc.enable()
    assert errors == [{"finishes": "NoneType", "fails": "ValueError", "call fails": "ValueError"}.get(how, "Stopped")]


def test_an_owner_that_fails_to_take_its_image_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    executor = executor_of(lambda calls: ["output" for _ in calls], Limits())
    taken: list[Any] = []

    def fail(result: Any, error: BaseException | None) -> None:
        raise RuntimeError("no thread to be had")

    for done in (fail, lambda result, error: taken.append((result, error)), fail):
        executor.submit(PipelineRun(lambda: "image", done))
    while executor.tick():
        pass
    assert taken == [("image", None)]
    assert executor.active == 0
    executor.submit(PipelineRun(lambda: "image", fail))
    executor.abandon(RuntimeError("shutting down"))
    assert executor.active == 0
    assert caplog.text.count("could not be handed over") == 3
