"""The scheduler gives out the calls that share a forward, by whatever policy it has; no greenlet is needed for that."""

from __future__ import annotations

import math
import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagegen.engine.policy import WeightedShortestProcessingTime
from imagegen.engine.scheduler import Limits, Policy, Rest, Scheduler
from tests.unit.engine.executor_toys import FULL_DEVICE, Toy


@dataclass(eq=False)
class Run:
    """A run that waits with one call."""

    name: str
    calls_left: int = 1
    batch_key: str = "a"
    rows: int = 1
    call: Toy = field(init=False)
    waiting_since: int = 0

    def __post_init__(self) -> None:
        self.call = Toy(batch_key=self.batch_key, rows=self.rows)


def names(batch: Sequence[Run]) -> list[str]:
    return [run.name for run in batch]


def scheduler_with(*runs: Run, max_batch_rows: int = 16) -> Scheduler[Run]:
    scheduler: Scheduler[Run] = Scheduler(Limits(max_batch_rows), FULL_DEVICE)
    for run in runs:
        scheduler.add(run)
    return scheduler


def test_nobody_waits_nobody_is_given_out() -> None:
    assert scheduler_with().next_batch(16) == []


def test_equally_urgent_calls_share_and_wait_no_longer() -> None:
    scheduler = scheduler_with(Run("a"), Run("b"), Run("other", batch_key="b"))
    assert names(scheduler.next_batch(16)) == ["a", "b"]
    assert names(scheduler.next_batch(16)) == ["other"]
    assert scheduler.next_batch(16) == []


def test_the_row_limit_of_the_moment_counts() -> None:
    scheduler = scheduler_with(Run("a", rows=2), Run("b", rows=2), Run("c", rows=2))
    assert names(scheduler.next_batch(4)) == ["a", "b"]
    assert names(scheduler.next_batch(1)) == ["c"]


def test_what_is_kept_waits_as_long_as_before() -> None:
    """After 32 forwards without it a long run goes first, also when it was asked meanwhile whether it is to stop."""
    long = Run("long", calls_left=1000)
    scheduler = scheduler_with(long)
    for number in range(32):
        for run in scheduler.take_all():
            scheduler.keep(run)
        scheduler.add(Run("short"))
        assert names(scheduler.next_batch(16)) == ["short"], f"forward {number}"
    scheduler.add(Run("short"))
    assert names(scheduler.next_batch(16)) == ["long"]


def test_what_was_taken_is_not_given_out() -> None:
    scheduler = scheduler_with(Run("a"), Run("b"))
    assert names(scheduler.take_all()) == ["a", "b"]
    assert scheduler.next_batch(16) == []


def test_the_policy_can_be_another_one() -> None:
    class LongestFirstAndAlone:
        """The opposite of the usual policy."""

        def urgency(self, calls_left: int, forwards_waited: int) -> float:
            return calls_left

        def sharing(self, urgencies: Sequence[float], rows: Sequence[int], batch_key: Hashable) -> int:
            assert list(urgencies) == sorted(urgencies, reverse=True)
            return 1

    scheduler: Scheduler[Run] = Scheduler(Limits(), LongestFirstAndAlone())
    for calls_left in (1, 3, 2):
        scheduler.add(Run(str(calls_left), calls_left))
    assert [names(scheduler.next_batch(16)) for _ in range(4)] == [["3"], ["2"], ["1"], []]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([2, 4, 16]),
    st.integers(1, 3),
    st.sampled_from([0.0, 3.0, math.inf]),
    st.booleans(),
    st.booleans(),
)
def test_nobody_waits_longer_than_the_policy_says(
    seed: int, row_limit: int, keys: int, fixed_rows: float, line: bool, known: bool
) -> None:
    """Short ones come and go all the time, twelve runs wait, and each forward has room for few of them."""
    dice = random.Random(seed)
    costs = {"0": 1.0, "1": 0.1, "2": 0.01} if known else {}
    overdue = Scheduler.OVERDUE if known and keys > 1 else 0
    policy = WeightedShortestProcessingTime(lambda _: fixed_rows, line=lambda: line, starvation_limit=8)
    scheduler: Scheduler[Run] = Scheduler(Limits(row_limit), policy, lambda key, rows: costs.get(str(key)))
    runs = 12
    for _ in range(runs):
        scheduler.add(_some_run(dice, keys))
    for number in range(200):
        batch = scheduler.next_batch(row_limit)
        for run in batch:
            waited = number - run.waiting_since
            assert waited <= policy.starvation_limit + (keys + overdue) * runs
            run.calls_left -= 1
        for run in batch:
            scheduler.add(run if run.calls_left else _some_run(dice, keys))


def _some_run(dice: random.Random, keys: int) -> Run:
    return Run("", dice.choice([1, 4, 50, 1000]), str(dice.randrange(keys)), dice.choice([1, 2]))


def keys_given_out(scheduler: Scheduler[Run], forwards: int) -> list[str]:
    """Batch keys of the next forwards, whose runs wait again after each."""
    keys = []
    for _ in range(forwards):
        batch = scheduler.next_batch(16)
        keys.append(batch[0].batch_key)
        for run in batch:
            scheduler.add(run)
    return keys


def with_costs(seconds: dict[str, float | None], policy: Policy | None = None) -> Scheduler[Run]:
    scheduler: Scheduler[Run] = Scheduler(Limits(), policy, lambda key, rows: seconds[str(key)])
    for key in seconds:
        scheduler.add(Run(key, 50, key))
    return scheduler


def test_batch_keys_with_as_much_work_left_get_equal_shares_of_the_devices_time() -> None:
    """A forward of a large image is followed by as many of small ones as take as long."""
    scheduler: Scheduler[Run] = Scheduler(Limits(), None, lambda key, rows: {"large": 1.0, "small": 0.125}[str(key)])
    scheduler.add(Run("large", 10, "large"))
    scheduler.add(Run("small", 80, "small"))
    keys = keys_given_out(scheduler, 90)
    assert keys[:10] == ["large", *["small"] * 8, "large"]
    assert [keys.count(key) for key in ("large", "small")] == [10, 80]


def test_who_has_less_work_left_gets_more_of_the_device() -> None:
    """Twice as much as one with twice the work, four times as much as one with four times."""
    seconds = {"large": 1.0, "middle": 0.5, "small": 0.25}
    keys = keys_given_out(with_costs({**seconds}), 400)
    assert keys[:3] == ["small", "middle", "large"]
    shares = {key: keys.count(key) * seconds[key] for key in seconds}
    assert shares["small"] / shares["middle"] == pytest.approx(2, rel=0.1)
    assert shares["small"] / shares["large"] == pytest.approx(4, rel=0.1)


@dataclass(eq=False)
class Preempted(Run):
    """A run that waits with the rest of something."""

    used_s: float = 0.0
    left_s: float = 0.0

    def __post_init__(self) -> None:
        self.call = Rest(self.batch_key, self.rows, 1, self.used_s, self.left_s)  # type: ignore[assignment]


def test_a_rest_goes_on_alone_and_before_calls_of_its_key() -> None:
    scheduler = scheduler_with(Run("short"), Preempted("rest", calls_left=9), Run("other"))
    assert names(scheduler.next_batch(16)) == ["rest"]
    assert names(scheduler.next_batch(16)) == ["short", "other"]


def test_a_rest_is_charged_what_it_has_used_and_no_whole_forward() -> None:
    """Between two slices of a large forward the small ones get eight times as much."""
    scheduler: Scheduler[Run] = Scheduler(Limits(), None, lambda key, rows: {"large": 8.0, "small": 0.25}[str(key)])
    scheduler.add(Run("small", 1, "small"))
    scheduler.add(Preempted("rest", 1, "large", used_s=0.125, left_s=6.0))
    given = []
    for _ in range(15):
        [run] = scheduler.next_batch(16)
        given.append(run.name)
        scheduler.add(run)
    assert given == [*["small"] * 5, "rest", *["small"] * 4, "rest", *["small"] * 4]


def test_what_is_taken_is_given_out_though_it_is_not_its_turn() -> None:
    last = Run("last", batch_key="b")
    scheduler = scheduler_with(Run("a"), last)
    scheduler.take(last)
    assert names(scheduler.next_batch(16)) == ["a"]
    assert scheduler.next_batch(16) == []


def test_while_a_cost_is_not_known_batch_keys_take_turns() -> None:
    assert keys_given_out(with_costs({"large": 1.0, "small": 0.125, "new": None}), 6) == ["large", "small", "new"] * 2


def test_who_comes_later_has_not_saved_up_for_it() -> None:
    scheduler: Scheduler[Run] = Scheduler(Limits(), None, lambda key, rows: 0.25)
    for key in "ab":
        scheduler.add(Run(key, 50, key))
    keys_given_out(scheduler, 100)
    scheduler.add(Run("late", 50, "late"))
    assert sorted(keys_given_out(scheduler, 6)) == ["a", "a", "b", "b", "late", "late"]


def test_a_key_whose_forwards_take_very_long_is_overdue_after_32() -> None:
    keys = keys_given_out(with_costs({"large": 1000.0, "small": 1.0}), 100)
    gaps = [number for number, key in enumerate(keys) if key == "large"]
    assert gaps == [1, 34, 67]
