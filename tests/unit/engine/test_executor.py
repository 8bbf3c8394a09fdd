"""The hub shares forwards fairly and within its limits, and whatever one image does, the others do not notice.

All with toy calls: a call's answer is twice its value.
"""

from __future__ import annotations

import gc
import traceback
import weakref
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from imagegen.engine.executor import Hub, Limits, PipelineRun


@dataclass(frozen=True)
class Toy:
    """A call whose answer is twice its value."""

    value: int = 1
    signature: str = "a"
    rows: int = 1
    pixels: int = 1


class Gone(Exception):
    """What ends an image that was asked to stop."""


@dataclass
class Model:
    """The toy forward; remembers what it ran together.

    Attributes:
        bad: values that it cannot stand.
        capacity: most rows before it is out of memory.
        groups: the values of each forward that went well.
    """

    bad: frozenset[int] = frozenset()
    capacity: int = 1000
    groups: list[list[int]] = field(default_factory=list)

    def __call__(self, calls: Sequence[Toy]) -> list[int]:
        assert len({call.signature for call in calls}) == 1
        if sum(call.rows for call in calls) > self.capacity:
            raise MemoryError
        bad = [call.value for call in calls if call.value in self.bad]
        if bad:
            raise ValueError(f"cannot stand {bad[0]}")
        self.groups.append([call.value for call in calls])
        return [2 * call.value for call in calls]


@dataclass(eq=False)
class Drawn:
    """A submitted image and all that was reported of it."""

    image: PipelineRun = field(init=False)
    reports: list[tuple[Any, BaseException | None]] = field(default_factory=list)
    stop_with: Exception | None = None

    @property
    def result(self) -> Any:
        """The result; fails unless exactly one report says so."""
        assert [error for _, error in self.reports] == [None]
        return self.reports[0][0]

    @property
    def error(self) -> BaseException:
        """The error; fails unless exactly one report says so."""
        [(result, error)] = self.reports
        assert result is None
        assert error is not None
        return error


def submit(hub: Hub, run: Callable[[], Any], expected_calls: int = 1) -> Drawn:
    drawn = Drawn()
    drawn.image = PipelineRun(
        run, lambda *report: drawn.reports.append(report), lambda: drawn.stop_with, expected_calls
    )
    hub.submit(drawn.image)
    return drawn


def steps(hub: Hub, *calls: Toy) -> Callable[[], list[int]]:
    """An image's work: these calls one after the other; returns their answers."""
    return lambda: [hub.call(call) for call in calls]


def run_to_end(hub: Hub, most_ticks: int = 10_000) -> int:
    """Ticks that it took."""
    for ticks in range(most_ticks):
        if not hub.tick():
            assert hub.active == 0
            return ticks
    raise AssertionError("the hub does not come to an end")


def test_images_share_their_forwards_and_each_gets_its_own_answers() -> None:
    model = Model()
    hub = Hub(model, Limits())
    drawn = [submit(hub, steps(hub, Toy(i), Toy(10 + i), Toy(20 + i))) for i in range(4)]
    assert hub.active == 4
    assert run_to_end(hub) == 3
    assert model.groups == [[0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23]]
    assert [d.result for d in drawn] == [[2 * i, 20 + 2 * i, 40 + 2 * i] for i in range(4)]


def test_only_calls_of_one_signature_share() -> None:
    model = Model()
    hub = Hub(model, Limits())
    for value, signature in enumerate("abab"):
        submit(hub, steps(hub, Toy(value, signature)))
    run_to_end(hub)
    assert model.groups == [[0, 2], [1, 3]]


def test_a_image_joins_and_another_leaves_between_any_two_steps() -> None:
    model = Model()
    hub = Hub(model, Limits())
    first = submit(hub, steps(hub, *[Toy(1)] * 4))
    hub.tick()
    second = submit(hub, steps(hub, *[Toy(2)] * 2))
    hub.tick()
    third = submit(hub, steps(hub, *[Toy(3)] * 3))
    run_to_end(hub)
    assert list(map(sorted, model.groups)) == [[1], [1, 2], [1, 2, 3], [1, 3], [3]]
    assert [first.result, second.result, third.result] == [[2] * 4, [4] * 2, [6] * 3]


def test_a_image_without_calls_ends_in_the_tick_it_starts() -> None:
    hub = Hub(Model(), Limits())
    drawn = submit(hub, lambda: "done")
    assert hub.tick()
    assert drawn.result == "done"
    assert not hub.tick()


def test_signatures_take_turns_and_a_lone_one_is_not_starved() -> None:
    """One image of its own kind beside many that keep refilling: it gets every second forward."""
    model = Model()
    hub = Hub(model, Limits())
    for _ in range(6):
        submit(hub, steps(hub, *[Toy(1, "popular")] * 8))
    submit(hub, steps(hub, *[Toy(9, "lone")] * 8))
    run_to_end(hub)
    assert [group[0] for group in model.groups] == [1, 9] * 8


def full_device(signature: Hashable) -> float:
    """Rows cost so much that a forward's fixed cost is nothing."""
    return 0.0


def test_on_a_full_device_a_short_image_does_not_wait_for_a_long_one() -> None:
    model = Model()
    hub = Hub(model, Limits(), fixed_rows=full_device)
    long = submit(hub, steps(hub, *[Toy(1)] * 50), 50)
    hub.tick()
    short = submit(hub, steps(hub, *[Toy(2)] * 4), 4)
    run_to_end(hub)
    assert model.groups == [[1], *[[2]] * 4, *[[1]] * 49]
    assert [short.result, long.result] == [[4] * 4, [2] * 50]


def test_a_long_image_that_is_nearly_done_is_as_urgent_as_a_short_one() -> None:
    model = Model()
    hub = Hub(model, Limits(), fixed_rows=full_device)
    submit(hub, steps(hub, *[Toy(1)] * 50), 50)
    for _ in range(46):
        hub.tick()
    submit(hub, steps(hub, *[Toy(2)] * 4), 4)
    run_to_end(hub)
    assert model.groups[46:] == [[1, 2]] * 4


def test_a_image_that_makes_more_calls_than_expected_is_done_all_the_same() -> None:
    hub = Hub(Model(), Limits(), fixed_rows=full_device)
    drawn = [submit(hub, steps(hub, *[Toy(1)] * 9), expected) for expected in (1, 4, 100)]
    run_to_end(hub)
    assert [d.result for d in drawn] == [[2] * 9] * 3


def test_a_long_image_with_two_calls_a_step_does_not_become_urgent_half_way() -> None:
    """As with Heun's scheduler: 100 calls of which 50 are expected, when a short image comes."""
    model = Model()
    hub = Hub(model, Limits(), fixed_rows=full_device)
    submit(hub, steps(hub, *[Toy(1)] * 100), 50)
    for _ in range(60):
        hub.tick()
    submit(hub, steps(hub, *[Toy(2)] * 4), 4)
    run_to_end(hub)
    assert model.groups[60:64] == [[2]] * 4


def test_a_long_image_is_not_starved_by_short_ones_that_keep_coming() -> None:
    model = Model()
    hub = Hub(model, Limits(), fixed_rows=full_device)
    submit(hub, steps(hub, *[Toy(1)] * 3), 1000)
    waited = 0
    while not any(1 in group for group in model.groups):
        submit(hub, steps(hub, Toy(2)), 1)
        hub.tick()
        waited += 1
    assert waited == 33  # in the forward after the 32 that went without it


def test_who_is_left_out_does_not_keep_other_signatures_from_their_turn() -> None:
    """Short and long of one kind, one of another: the kinds take turns although a long one has waited longest."""
    model = Model()
    hub = Hub(model, Limits(), fixed_rows=full_device)
    submit(hub, steps(hub, *[Toy(1)] * 20), 1000)
    submit(hub, steps(hub, *[Toy(2)] * 4), 4)
    submit(hub, steps(hub, *[Toy(3, "b")] * 4), 4)
    run_to_end(hub)
    assert model.groups[:8] == [[2], [3]] * 4


def test_among_equals_that_do_not_all_fit_those_who_began_go_on() -> None:
    """One after the other, all are done sooner on the average than by turns."""
    model = Model()
    hub = Hub(model, Limits(max_batch_rows=2))
    for value in range(4):
        submit(hub, steps(hub, *[Toy(value)] * 3), 3)
    run_to_end(hub)
    assert model.groups == [*[[0, 1]] * 3, *[[2, 3]] * 3]


def test_a_call_that_did_not_fit_leads_the_next_forward() -> None:
    model = Model()
    hub = Hub(model, Limits(max_batch_rows=4))
    for value, rows in ((1, 2), (2, 3), (3, 2), (4, 2)):
        submit(hub, steps(hub, *[Toy(value, rows=rows)] * 2))
    run_to_end(hub)
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
    hub = Hub(model, limits)
    for value in range(5):
        submit(hub, steps(hub, Toy(value, rows=2, pixels=100)))
    run_to_end(hub)
    assert model.groups == groups


def test_a_stopped_image_leaves_within_one_tick_and_its_cleanup_runs() -> None:
    model = Model()
    hub = Hub(model, Limits())
    cleaned: list[str] = []

    def careful() -> None:
        try:
            steps(hub, *[Toy(1)] * 10)()
        finally:
            cleaned.append("up")

    stopped, other = submit(hub, careful), submit(hub, steps(hub, *[Toy(2)] * 3))
    hub.tick()
    stopped.stop_with = Gone()
    hub.tick()
    assert stopped.error is stopped.stop_with
    assert cleaned == ["up"]
    assert hub.active == 1
    run_to_end(hub)
    assert model.groups == [[1, 2], [2], [2]]
    assert other.result == [4] * 3


def test_a_image_that_is_stopped_before_it_starts_never_runs() -> None:
    hub = Hub(Model(), Limits())
    ran: list[int] = []
    drawn = submit(hub, lambda: ran.append(1))
    drawn.stop_with = Gone()
    hub.tick()
    assert drawn.error is drawn.stop_with
    assert not ran


@pytest.mark.parametrize("bad", [[0], [3], [7], [2, 5], [0, 1, 2, 3, 4, 5, 6, 7]])
def test_a_call_that_fails_is_found_by_halving_and_its_neighbours_get_their_answers(bad: list[int]) -> None:
    hub = Hub(Model(bad=frozenset(bad)), Limits())
    drawn = [submit(hub, steps(hub, Toy(i))) for i in range(8)]
    run_to_end(hub)
    for value, each in enumerate(drawn):
        if value in bad:
            assert str(each.error) == f"cannot stand {value}"
        else:
            assert each.result == [2 * value]
    assert hub.isolation_retries == (3 if len(bad) == 1 else 7 if len(bad) == 8 else 5)


def test_a_image_may_handle_the_failure_of_its_call_and_go_on() -> None:
    hub = Hub(Model(bad=frozenset([5])), Limits())

    def resourceful() -> Any:
        try:
            return hub.call(Toy(5))
        except ValueError:
            return hub.call(Toy(6))

    drawn = submit(hub, resourceful)
    run_to_end(hub)
    assert drawn.result == 12


def test_the_error_of_a_call_shows_where_in_the_model_and_in_the_image_it_came_from() -> None:
    """The server's log is all that is left of it."""

    def deep_in_the_model(calls: Sequence[Toy]) -> list[int]:
        raise ValueError

    def in_the_run() -> None:
        hub.call(Toy())

    hub = Hub(deep_in_the_model, Limits())
    drawn = submit(hub, in_the_run)
    run_to_end(hub)
    functions = [frame.name for frame in traceback.extract_tb(drawn.error.__traceback__)]
    assert {"in_the_run", "deep_in_the_model"} <= set(functions)


@pytest.mark.parametrize("outputs", [[], [1], [1, 2, 3]])
def test_a_wrong_number_of_outputs_is_a_failure_and_nobody_gets_anothers_answer(outputs: list[int]) -> None:
    def forward(calls: Sequence[Toy]) -> list[int]:
        return [2 * calls[0].value] if len(calls) == 1 else outputs

    hub = Hub(forward, Limits())
    drawn = [submit(hub, steps(hub, Toy(value))) for value in (4, 5)]
    run_to_end(hub)
    assert [d.result for d in drawn] == [[8], [10]]
    nothing = Hub(lambda calls: [], Limits())
    alone = submit(nothing, steps(nothing, Toy(1)))
    run_to_end(nothing)
    assert str(alone.error) == "0 outputs for 1 calls"


def test_out_of_memory_lowers_the_row_limit_and_nobody_fails() -> None:
    model = Model(capacity=5)
    hub = Hub(model, Limits(max_batch_rows=16))
    drawn = [submit(hub, steps(hub, *[Toy(i)] * 4)) for i in range(16)]
    run_to_end(hub)
    assert [d.result for d in drawn] == [[2 * i] * 4 for i in range(16)]
    assert hub.row_limit == 4  # 16 rows fail, 8 fail, 4 fit
    assert hub.isolation_retries == 3  # both halves of the first 16 were tried before the limit was known
    assert max(len(group) for group in model.groups) == 4


def test_the_row_limit_grows_back_by_one_row_after_a_while_without_out_of_memory() -> None:
    model = Model(capacity=4)
    hub = Hub(model, Limits(max_batch_rows=8))
    images = [submit(hub, steps(hub, *[Toy(i)] * 500)) for i in range(8)]
    hub.tick()
    assert hub.row_limit == 4
    model.capacity = 1000
    limits = []
    while hub.tick():
        limits.append(hub.row_limit)
    assert sorted(set(limits)) == [4, 5, 6, 7, 8]
    assert limits == sorted(limits)
    assert [limits.count(limit) for limit in (5, 6, 7)] == [Hub.REGROW_AFTER] * 3
    assert all(len(image.result) == 500 for image in images)


def test_a_call_that_is_out_of_memory_by_itself_fails_alone() -> None:
    hub = Hub(Model(capacity=4), Limits(max_batch_rows=8))
    large, small = submit(hub, steps(hub, Toy(1, rows=6))), submit(hub, steps(hub, Toy(2, rows=2)))
    run_to_end(hub)
    assert isinstance(large.error, MemoryError)
    assert small.result == [4]


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), RuntimeError("bug"), StopIteration()])
def test_whatever_a_image_raises_ends_that_image_alone(error: BaseException) -> None:
    hub = Hub(Model(), Limits())

    def bad() -> None:
        hub.call(Toy(1))
        raise error

    failed, other = submit(hub, bad), submit(hub, steps(hub, Toy(2), Toy(3)))
    run_to_end(hub)
    assert failed.error is error
    assert other.result == [4, 6]


def test_a_image_that_swallows_its_end_is_told_again_at_every_step_and_may_finish() -> None:
    model = Model()
    hub = Hub(model, Limits())
    swallowed: list[BaseException] = []

    def stubborn() -> str:
        for _ in range(3):
            try:
                hub.call(Toy(1))
            except Gone as error:
                swallowed.append(error)
        return "finished"

    drawn, other = submit(hub, stubborn), submit(hub, steps(hub, *[Toy(2)] * 5))
    hub.tick()
    drawn.stop_with = Gone()
    run_to_end(hub)
    assert drawn.result == "finished"
    assert swallowed
    assert other.result == [4] * 5


def test_abandon_ends_everything_also_what_did_not_start_or_will_not_end() -> None:
    hub = Hub(Model(), Limits())

    def stubborn() -> None:
        while True:
            try:
                hub.call(Toy(1))
            except Gone:
                continue

    drawn = [submit(hub, stubborn), submit(hub, steps(hub, *[Toy(2)] * 5))]
    hub.tick()
    drawn.append(submit(hub, steps(hub, Toy(3))))
    gone = Gone()
    hub.abandon(gone)
    assert [each.error for each in drawn] == [gone] * 3
    assert hub.active == 0
    assert not hub.tick()
    again = submit(hub, steps(hub, Toy(4)))
    run_to_end(hub)
    assert again.result == [8]


def test_a_hub_that_broke_can_be_abandoned_and_loses_nobody() -> None:
    """A signature that cannot be compared breaks the tick itself, with images in every state."""

    class Incomparable:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("not comparable")

        __hash__ = None  # type: ignore[assignment]

    hub = Hub(Model(), Limits())
    drawn = [submit(hub, steps(hub, Toy(i))) for i in range(3)]
    drawn.append(submit(hub, lambda: hub.call(Toy(9, signature=Incomparable()))))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="not comparable"):
        hub.tick()
    gone = Gone()
    hub.abandon(gone)
    assert [each.error for each in drawn] == [gone] * 4
    assert hub.active == 0


def test_a_call_outside_any_image_runs_at_once() -> None:
    model = Model()
    hub = Hub(model, Limits())
    parked = submit(hub, steps(hub, Toy(1), Toy(2)))
    hub.tick()
    assert hub.call(Toy(21)) == 42
    run_to_end(hub)
    assert parked.result == [2, 4]
    assert model.groups == [[1], [21], [2]]


@pytest.mark.parametrize("how", ["finishes", "fails", "call fails", "is stopped", "is abandoned"])
def test_what_a_image_held_is_free_at_once_when_it_ends(how: str) -> None:
    """Without waiting for the garbage collector: an image's latents and a failed forward's tensors are large."""

    class Latents:
        """Something large that an image holds between its calls."""

    def draw() -> None:
        latents = Latents()
        held.append(weakref.ref(latents))
        hub.call(Toy(5 if how == "call fails" else 1))
        if how == "fails":
            raise ValueError
        hub.call(Toy(2))
        del latents

    held: list[weakref.ref[Latents]] = []
    errors: list[str] = []
    stop: list[Exception] = []
    hub = Hub(Model(bad=frozenset([5])), Limits())
    gc.collect()
    gc.disable()
    try:
        hub.submit(
            PipelineRun(draw, lambda _, error: errors.append(type(error).__name__), lambda: stop[0] if stop else None)
        )
        hub.tick()
        if how == "is stopped":
            stop.append(Gone())
            hub.tick()
            stop.clear()
        if how == "is abandoned":
            hub.abandon(Gone())
        while hub.tick():
            pass
        assert held[0]() is None
    finally:
        gc.enable()
    assert errors == [{"finishes": "NoneType", "fails": "ValueError", "call fails": "ValueError"}.get(how, "Gone")]


def test_an_owner_that_fails_to_take_its_image_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    hub = Hub(lambda calls: ["answer" for _ in calls], Limits())
    taken: list[Any] = []

    def fail(result: Any, error: BaseException | None) -> None:
        raise RuntimeError("no thread to be had")

    for done in (fail, lambda result, error: taken.append((result, error)), fail):
        hub.submit(PipelineRun(lambda: "image", done))
    while hub.tick():
        pass
    assert taken == [("image", None)]
    assert hub.active == 0
    hub.submit(PipelineRun(lambda: "image", fail))
    hub.abandon(RuntimeError("shutting down"))
    assert hub.active == 0
    assert caplog.text.count("could not be handed over") == 3
