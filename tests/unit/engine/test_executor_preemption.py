"""A forward or a decode that takes long gives way to others, one at a time, and nobody sees it in what comes out."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import greenlet
import pytest

from imagegen.api.errors import Cancelled
from imagegen.engine.executor import Executor
from imagegen.engine.scheduler import Limits, Rest, Scheduler
from tests.unit.engine.executor_toys import FULL_DEVICE, Stopped, Submitted, Toy, run_to_end, steps, submit

LARGE, SMALL = "large", "small"
SECONDS = {LARGE: 1.0, SMALL: 0.1}


class LayeredModel:
    """A toy forward of layers; that of large calls gives way before each.

    Attributes:
        layers: of a large forward.
        trace: what was done, in order: "large 0" is the first of its layers, "small" a whole forward of small calls.
        gave_way: what each call of `give_way` said.
        capacity: most rows in memory, those of a forward that waits included.
    """

    def __init__(self, layers: int = 4, capacity: int = 1000) -> None:
        self.layers = layers
        self.capacity = capacity
        self.trace: list[str] = []
        self.gave_way: list[bool] = []
        self.rows = 0

    def __call__(self, calls: Sequence[Toy]) -> list[int]:
        key, rows = calls[0].batch_key, sum(call.rows for call in calls)
        if self.rows + rows > self.capacity:
            raise MemoryError
        self.rows += rows
        try:
            for layer in range(self.layers if key == LARGE else 1):
                self.trace.append(f"{key} {layer}" if key == LARGE else key)
                if key == LARGE:
                    self.give_way(layer)
        finally:
            self.rows -= rows
        return [2 * call.value for call in calls]

    def give_way(self, layer: int) -> None:
        rest = Rest(LARGE, 1, 1, used_s=0.25, left_s=0.25 * (self.layers - layer - 1))
        self.gave_way.append(here().give_way(rest))


def here() -> Any:
    return greenlet.getcurrent()


def executor_of(model: Callable[[Sequence[Toy]], Any], limits: Limits | None = None) -> Executor:
    scheduler: Scheduler[Any] = Scheduler(limits or Limits(), FULL_DEVICE, lambda key, rows: SECONDS.get(str(key)))
    return Executor(model, scheduler)


def test_a_short_image_is_done_within_one_layer_of_a_long_forward() -> None:
    model = LayeredModel()
    executor = executor_of(model)
    large = submit(executor, steps(executor, Toy(1, LARGE)), 1)
    small = submit(executor, steps(executor, *[Toy(5, SMALL)] * 3), 3)
    executor.tick()
    assert model.trace == ["small"], "what has least left goes first"
    run_to_end(executor)
    assert small.result == [10, 10, 10]
    assert large.result == [2]

    model.trace.clear()
    large = submit(executor, steps(executor, *[Toy(1, LARGE)] * 2), 2)
    executor.tick()
    late = submit(executor, steps(executor, *[Toy(5, SMALL)] * 3), 3)
    run_to_end(executor)
    assert late.result == [10] * 3
    assert large.result == [2, 2]
    assert model.trace == [*(f"large {i}" for i in range(4)), *["small"] * 3, *(f"large {i}" for i in range(4))]


def test_who_comes_while_it_waits_goes_before_the_rest() -> None:
    model = LayeredModel()
    executor = executor_of(model)
    large = submit(executor, steps(executor, *[Toy(1, LARGE)] * 2), 2)
    other = submit(executor, lambda: here().suspend_until(Never(executor)))
    executor.tick()
    assert model.trace == ["large 0"], "another image is there, so it gave way"
    small = submit(executor, steps(executor, *[Toy(5, SMALL)] * 2), 2)
    for _ in range(2):
        executor.tick()
    assert model.trace == ["large 0", "small", "small"]
    assert small.result == [10, 10]
    run_to_end(executor)
    assert large.result == [2, 2]
    assert other.result is None


class Never:
    """A copy that comes when nothing else is left."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def arrived(self) -> bool:
        return self._executor.active == 1

    def wait(self) -> None: ...


def test_alone_nobody_gives_way() -> None:
    model = LayeredModel()
    executor = executor_of(model)
    together = [submit(executor, steps(executor, Toy(value, LARGE)), 1) for value in (1, 2)]
    executor.tick()
    assert model.gave_way == [False] * 4, "all that are there are in the forward"
    assert [one.result for one in together] == [[2], [4]]


def test_calls_of_its_own_key_wait_for_the_rest() -> None:
    """Two forwards of one size at once would take its memory twice."""
    model = LayeredModel()
    executor = executor_of(model)
    first = submit(executor, steps(executor, Toy(1, LARGE)), 1)
    small = submit(executor, steps(executor, *[Toy(5, SMALL)] * 9), 9)
    second = submit(executor, steps(executor, Toy(2, LARGE)), 1)
    executor.tick()
    run_to_end(executor)
    assert [first.result, second.result, small.result] == [[2], [4], [10] * 9]
    large = [entry for entry in model.trace if entry != "small"]
    assert large in ([f"large {i}" for i in range(4)], [f"large {i}" for i in range(4)] * 2)


def test_one_waits_at_a_time() -> None:
    """A decode that was preempted, and a whole forward, is all that there is in memory."""
    model = LayeredModel()
    executor = executor_of(model)
    said: list[bool] = []

    def decoding() -> str:
        said.extend(here().give_way(Rest("decode", 0, 0, 0.5, 0.5)) for _ in range(3))
        return "decoded"

    decode = submit(executor, decoding)
    large = submit(executor, steps(executor, Toy(1, LARGE)), 1)
    executor.tick()
    run_to_end(executor)
    assert decode.result == "decoded"
    assert large.result == [2]
    assert said.count(True) + model.gave_way.count(True) >= 1
    begun = model.trace.index("large 0")
    assert model.trace[begun : begun + 4] == [f"large {i}" for i in range(4)]


def test_a_decode_gives_way_to_forwards_and_ends() -> None:
    model = LayeredModel()
    executor = executor_of(model)
    trace = model.trace

    def decoding() -> str:
        for layer in range(3):
            trace.append(f"decode {layer}")
            here().give_way(Rest("decode", 0, 0, 10.0, 10.0))
        return "decoded"

    decode = submit(executor, decoding)
    small = submit(executor, steps(executor, *[Toy(5, SMALL)] * 2), 2)
    run_to_end(executor)
    assert trace == ["decode 0", "small", "small", "decode 1", "decode 2"]
    assert decode.result == "decoded"
    assert small.result == [10, 10]
    assert decode.image.calls_left == 1, "to give way is no denoiser call"


def preempted(model: Callable[[Sequence[Toy]], Any]) -> tuple[Executor, Submitted, Submitted]:
    """An executor whose large forward waits, its image, and a small one that has not ended."""
    executor = executor_of(model)
    small = submit(executor, steps(executor, *[Toy(5, SMALL)] * 100), 100)
    large = submit(executor, steps(executor, Toy(1, LARGE)), 1)
    for _ in range(100):
        executor.tick()
        if executor._preempted is not None:
            return executor, large, small
    raise AssertionError("it was not preempted")


def test_a_cancel_ends_a_forward_that_waits() -> None:
    model = LayeredModel()
    executor, large, small = preempted(model)
    large.stop_with = Stopped()
    executor.tick()
    assert large.error is large.stop_with
    assert model.rows == 0, "the forward was left, with all that it held"
    run_to_end(executor)
    assert small.result == [10] * 100
    assert "large 3" not in model.trace


def test_a_forward_goes_on_for_those_that_are_not_cancelled() -> None:
    model = LayeredModel()
    executor = executor_of(model)
    large = [submit(executor, steps(executor, Toy(value, LARGE)), 1) for value in (1, 2)]
    small = submit(executor, steps(executor, *[Toy(5, SMALL)] * 100), 100)
    while executor._preempted is None:
        executor.tick()
    large[0].stop_with = Stopped()
    run_to_end(executor)
    assert large[1].result == [4]
    assert large[0].reports
    assert small.result == [10] * 100


def test_abandon_ends_what_waits() -> None:
    model = LayeredModel()
    executor, large, small = preempted(model)
    error = Cancelled("over")
    executor.abandon(error)
    assert executor.active == 0
    assert large.error is small.error is error
    assert model.rows == 0
    again = submit(executor, steps(executor, Toy(3, LARGE)), 1)
    run_to_end(executor)
    assert again.result == [6]


def test_without_memory_a_forward_lets_what_waits_end_first() -> None:
    """Nobody fails who would not have without preemption."""
    model = LayeredModel(capacity=1)
    executor = executor_of(model)
    small = submit(executor, steps(executor, *[Toy(5, SMALL)] * 30), 30)
    large = submit(executor, steps(executor, *[Toy(1, LARGE)] * 2), 2)
    run_to_end(executor)
    assert small.result == [10] * 30
    assert large.result == [2, 2]
    assert any(model.gave_way)
    assert executor.row_limit == 16, "it was not the rows"


def test_without_memory_a_decode_lets_what_waits_end_first() -> None:
    model = LayeredModel()
    executor = executor_of(model)
    made: list[bool] = []

    def decoding() -> int:
        executor.call(Toy(5, SMALL))
        made.append(here().make_room())
        return model.rows

    decodes = [submit(executor, decoding, 1) for _ in range(2)]
    large = submit(executor, steps(executor, Toy(1, LARGE)), 1)
    run_to_end(executor)
    assert [decode.result for decode in decodes] == [0, 0], "nothing else was in memory"
    assert large.result == [2]
    assert not all(made)


def test_what_fails_after_it_waited_fails_by_itself() -> None:
    class Broken(LayeredModel):
        def give_way(self, layer: int) -> None:
            super().give_way(layer)
            if layer == 2:
                raise ValueError("broken layer")

    executor, large, small = preempted(Broken())
    run_to_end(executor)
    with pytest.raises(ValueError, match="broken layer"):
        raise large.error
    assert small.result == [10] * 100


def test_what_a_forward_held_is_free_when_it_ends() -> None:
    class Tensor(Toy):
        pass

    executor = executor_of(LayeredModel())
    call = Tensor(1, LARGE)
    gone = weakref.ref(call)
    calls = [call]
    submit(executor, lambda: executor.call(calls.pop()), 1)
    submit(executor, steps(executor, *[Toy(5, SMALL)] * 3), 3)
    del call
    gc.disable()
    try:
        run_to_end(executor)
        assert gone() is None
    finally:
        gc.enable()
