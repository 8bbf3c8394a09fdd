"""Which calls share the next forward. Pure: no greenlets, no clock, no torch.

add(run)        the run waits with its next call, or with the rest of one that was preempted
next_batch(n)   the runs whose calls share the next forward; they no longer wait
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from imagegen.engine.policy import WeightedShortestProcessingTime


class Call(Protocol):
    """One denoiser call, as far as scheduling needs to know it."""

    @property
    def batch_key(self) -> Hashable:
        """Calls of equal batch key may share a forward."""

    @property
    def rows(self) -> int:
        """Length of the batch dimension, 1 or more."""

    @property
    def pixels(self) -> int:
        """Rows times the image's pixels, a measure of the memory that a forward takes."""


@dataclass(frozen=True)
class Rest:
    """What is left of a forward or a decode that was preempted. It goes on alone, before calls of its batch key.

    Attributes:
        batch_key: of the forward; of a decode its own.
        rows, pixels: of the forward, 0 of a decode.
        used_s: seconds of the device since it began, or went on.
        left_s: seconds that it still takes, as well as is known.
    """

    batch_key: Hashable
    rows: int
    pixels: int
    used_s: float
    left_s: float


class Waiting(Protocol):
    """A pipeline run, or a preempted forward of several, that waits for the device.

    Attributes:
        waiting_since: how many forwards the scheduler had given out when the run began to wait; set by the scheduler.
    """

    waiting_since: int

    @property
    def call(self) -> Call:
        """The call that waits, or a `Rest`."""

    @property
    def calls_left(self) -> int:
        """Calls still expected of the run, the waiting one included; 1 or more."""


class Policy(Protocol):
    """What the scheduler lets others decide; see `WeightedShortestProcessingTime` for the meaning of the arguments."""

    def urgency(self, calls_left: int, forwards_waited: int) -> float:
        """What it is worth to run a call now, more than 0."""

    def sharing(self, urgencies: Sequence[float], rows: Sequence[int], batch_key: Hashable) -> int:
        """How many of the calls, from the most urgent, share the next forward; 1 or more."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one forward. A single call larger than a bound still runs, alone.

    Attributes:
        max_batch_rows: most rows of a forward.
        max_batch_pixels: most rows x pixels of a forward; 0 for no bound.
    """

    max_batch_rows: int = 16
    max_batch_pixels: int = 0


Run = TypeVar("Run", bound=Waiting)


def _unknown(batch_key: Hashable, rows: int) -> float | None:
    return None


class Scheduler(Generic[Run]):
    """Keeps the runs that wait and gives out those that share the next forward.

    Batch keys share the device's time, whatever a forward of theirs takes, as long as calls of theirs wait: after a
    forward of a large image as many of small ones follow as take as long. A key whose next image still has more work
    than another key's gets less, in proportion, but an eighth of that one's at least. While the cost of one of them is
    not known, they take turns. A key that has had no forward for `OVERDUE` others is next in any case.

    Nobody starves: where k batch keys wait, and a calls of one's own key, a call waits for no more than the policy's
    `starvation_limit + (OVERDUE + k) * a` forwards; where there is one key, for `starvation_limit + a`.

    Args:
        limits: bounds of one forward.
        policy: orders calls of one batch key and says how many of them share.
        seconds: what a forward of a batch key and so many rows takes, as far as is known.
    """

    OVERDUE = 32
    LEAST_SHARE = 1 / 8

    def __init__(
        self,
        limits: Limits,
        policy: Policy | None = None,
        seconds: Callable[[Hashable, int], float | None] = _unknown,
    ) -> None:
        self.limits = limits
        self._policy = policy or WeightedShortestProcessingTime()
        self._seconds = seconds
        self._used_s: dict[Hashable, float] = {}  # of the device, by batch key; only what is beyond `_least_used_s`
        self._least_used_s = 0.0  # of the key that had the last forward, before it: where one that is new begins
        self._owed_s: dict[Hashable, float] = {}  # of the device, by batch key, since the last forward was given out
        self._waiting: deque[Run] = deque()  # batch keys whose last forward is longest ago come first
        self._forwards = 0

    def add(self, run: Run) -> None:
        """Let a run wait with its next call."""
        run.waiting_since = self._forwards
        self._waiting.append(run)
        if isinstance(run.call, Rest):
            self._owed_s[run.call.batch_key] = run.call.used_s

    def take(self, run: Run) -> None:
        """Give out a run that waits, whoever's turn it is."""
        self._waiting.remove(run)
        self._forwards += 1

    def take_all(self) -> list[Run]:
        """All runs that wait, in order; afterwards none does."""
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    def keep(self, run: Run) -> None:
        """Let a run of `take_all` wait on, as if it had never been taken."""
        self._waiting.append(run)

    def next_batch(self, row_limit: int) -> list[Run]:
        """Of the batch key whose turn it is: the most urgent calls within the limits, as many as should share.

        However many runs wait with each: urgency counts among calls that can share.

        Args:
            row_limit: most rows of this forward, `max_batch_rows` or less.
        """
        if not self._waiting:
            return []
        alike, others = self._of_key(self._waiting[0].call.batch_key)
        work_s = self._work_by_key() if others or self._owed_s else {}
        self._settle(work_s)
        batch_key = self._next_key(others, work_s)
        if batch_key != alike[0].call.batch_key:
            alike, others = self._of_key(batch_key)
        urgency = {run: self._urgency(run) for run in alike}
        batch = [run for run in alike if isinstance(run.call, Rest)][:1]
        if not batch:
            alike.sort(key=urgency.__getitem__, reverse=True)
            batch = self._within_limits(alike, row_limit)
        if len(batch) > 1:
            rows = [run.call.rows for run in batch]
            del batch[self._policy.sharing([urgency[run] for run in batch], rows, batch_key) :]
        taken = set(batch)
        self._waiting = deque(others + [run for run in alike if run not in taken])
        self._forwards += 1
        if others:
            self._owed_s[batch_key] = self._call_seconds(batch[0].call, sum(run.call.rows for run in batch)) or 0.0
        return batch

    def _of_key(self, batch_key: Hashable) -> tuple[list[Run], list[Run]]:
        """The runs that wait with a call of this batch key, and the others."""
        alike: list[Run] = []
        others: list[Run] = []
        for run in self._waiting:
            (alike if run.call.batch_key == batch_key else others).append(run)
        return alike, others

    def _next_key(self, others: Sequence[Run], work_s: Mapping[Hashable, float]) -> Hashable:
        """The key that has used least of the device; of equal ones the first that waits, and if it is overdue."""
        first = self._waiting[0]
        if not others or self._forwards - first.waiting_since >= self.OVERDUE:
            return first.call.batch_key
        calls = {run.call.batch_key: run.call for run in (first, *others)}
        if any(self._call_seconds(call, call.rows) is None for call in calls.values()):
            return first.call.batch_key
        return min(calls, key=lambda key: (self._used(key), work_s[key]))

    def _used(self, batch_key: Hashable) -> float:
        return max(self._least_used_s, self._used_s.get(batch_key, 0.0))

    def _settle(self, work_s: Mapping[Hashable, float]) -> None:
        """Note what batch keys have had of the device: more than they had, where others have less work left."""
        owed_s, self._owed_s = self._owed_s, {}
        least_s = min(work_s.values(), default=0.0)
        for batch_key, seconds in owed_s.items():
            used_s = self._used(batch_key)
            self._least_used_s = used_s
            self._used_s = {key: used for key, used in self._used_s.items() if used > used_s}
            share = max(self.LEAST_SHARE, least_s / (work_s.get(batch_key, least_s) or 1.0)) if least_s else 1.0
            self._used_s[batch_key] = used_s + seconds / share

    def _work_by_key(self) -> dict[Hashable, float]:
        """Seconds that are left of the image that has least left, of those that wait with calls of each batch key."""
        work_s: dict[Hashable, float] = {}
        for run in self._waiting:
            key = run.call.batch_key
            work_s[key] = min(work_s.get(key, math.inf), self._work(run))
        return work_s

    def _work(self, run: Run) -> float:
        call = run.call
        whole_s = self._seconds(call.batch_key, call.rows) or 0.0
        rest_s = call.left_s if isinstance(call, Rest) else whole_s
        return rest_s + (run.calls_left - 1) * whole_s

    def _call_seconds(self, call: Call, rows: int) -> float | None:
        """What a forward takes of so many rows, with this call; of a `Rest`, what it is charged until it is known."""
        return 0.0 if isinstance(call, Rest) else self._seconds(call.batch_key, rows)

    def _urgency(self, run: Run) -> float:
        return self._policy.urgency(run.calls_left, self._forwards - run.waiting_since)

    def _within_limits(self, runs: Sequence[Run], row_limit: int) -> list[Run]:
        """The first run, and those after it that still fit."""
        batch: list[Run] = []
        rows = pixels = 0
        max_pixels = self.limits.max_batch_pixels or math.inf
        for run in runs:
            call = run.call
            if not batch or (rows + call.rows <= row_limit and pixels + call.pixels <= max_pixels):
                batch.append(run)
                rows += call.rows
                pixels += call.pixels
        return batch
