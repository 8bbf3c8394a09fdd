"""The hub: step-level continuous batching of unmodified pipeline calls.

Every picture is a greenlet that runs a plain pipeline call. Where the pipeline calls its denoiser it parks
instead, with the `Call` it wants done. The hub merges parked calls of equal signature into one forward, as many as
should share it (`sharing`), hands each its part and lets it run on to its next call. Pictures join and leave at any
step.

    tick = start what was submitted · end what asked to stop · forward one group · resume it

Pure: no Triton, no I/O, no clock, no torch. One thread drives it; only `submit` may be called from others.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

import greenlet

from sharing import urgency, worth_sharing


class Call(Protocol):
    """One module call that a picture waits for.

    Attributes:
        signature: calls of equal signature may share a forward.
        rows: length of the batch dimension, 1 or more.
        pixels: rows times the picture's pixels, a measure of the memory a forward takes.
    """

    signature: Hashable
    rows: int
    pixels: int


@dataclass(frozen=True)
class Limits:
    """Bounds of one forward. A single call larger than a bound still runs, alone.

    Attributes:
        max_batch_rows: most rows of a forward.
        max_batch_pixels: most rows x pixels of a forward; 0 for no bound.
    """

    max_batch_rows: int = 16
    max_batch_pixels: int = 0


@dataclass(eq=False)
class Picture:
    """One greenlet's work.

    Attributes:
        run: the pipeline call; runs inside the greenlet, on the hub's thread.
        done: called exactly once, on the hub's thread, with the result of `run` or the exception that ended it.
        stop: asked before every forward; an exception ends the picture with it, None lets it go on.
        expected_calls: that `run` will make, as well as is known; 1 or more.
    """

    run: Callable[[], Any]
    done: Callable[[Any, BaseException | None], None]
    stop: Callable[[], Exception | None] = lambda: None
    expected_calls: int = 1
    _greenlet: Any = field(default=None, init=False, repr=False)
    _call: Any = field(default=None, init=False, repr=False)
    _calls_done: int = field(default=0, init=False, repr=False)
    _parked_at: int = field(default=0, init=False, repr=False)


_log = logging.getLogger(__name__)

Forward = Callable[[Sequence[Any]], Sequence[Any]]


class Hub:
    """Runs pictures to their end, sharing forwards.

    Args:
        forward: runs calls of one signature in one go and returns their outputs in order. May raise: the
            group is then halved until only the call that fails by itself sees the exception.
        limits: bounds of one forward.
        out_of_memory: exceptions that mean "too many rows at once", not "this call is bad".
        fixed_rows: what a forward of a signature costs whatever its size, in rows.

    Attributes:
        row_limit: most rows of a forward at the moment: `max_batch_rows`, or less after out-of-memory.
        isolation_retries: forwards that failed and were run again in halves.
    """

    REGROW_AFTER = 64  # forwards without out-of-memory before one more row is tried

    def __init__(
        self,
        forward: Forward,
        limits: Limits,
        out_of_memory: tuple[type[BaseException], ...] = (MemoryError,),
        fixed_rows: Callable[[Hashable], float] = lambda signature: math.inf,
    ) -> None:
        self._forward = forward
        self._limits = limits
        self._out_of_memory = out_of_memory
        self._fixed_rows = fixed_rows
        self._submitted: deque[Picture] = deque()
        self._parked: deque[Picture] = deque()  # signatures whose last forward is longest ago first
        self._rounds = 0
        self._live: set[Picture] = set()  # started and not ended
        self._running: Picture | None = None
        self._greenlet: Any = None
        self.row_limit = limits.max_batch_rows
        self._since_out_of_memory = self.isolation_retries = 0

    @property
    def active(self) -> int:
        """Pictures that have not ended."""
        return len(self._submitted) + len(self._live)

    def submit(self, picture: Picture) -> None:
        """Take a picture; it starts at the next tick. Safe from any thread."""
        self._submitted.append(picture)

    def call(self, call: Any) -> Any:
        """Have `call` done, from inside `Picture.run`: parks the picture until its forward has run.

        Outside any picture the call runs at once, alone.
        """
        picture = self._running
        if picture is None or picture._greenlet is not greenlet.getcurrent():
            return self._forward([call])[0]
        picture._call = call
        return self._greenlet.switch()

    def tick(self) -> bool:
        """One round. Returns False when there was nothing to do."""
        if not self.active:
            return False
        self._greenlet = greenlet.getcurrent()
        while self._submitted:
            self._start(self._submitted.popleft())
        self._end_stopped()
        group = self._next_group()
        self._rounds += 1
        for picture, outcome in zip(group, self._isolated([picture._call for picture in group]), strict=True):
            self._resume(picture, outcome)
        return True

    def abandon(self, error: Exception) -> None:
        """End every picture with `error`."""
        self._greenlet = greenlet.getcurrent()
        while self._submitted:
            self._end(self._submitted.popleft(), None, error)
        parked, self._parked = self._parked, deque()
        for picture in parked:
            self._resume(picture, _Failure(error))
        self._parked.clear()
        for picture in list(self._live):  # ran on although told to end, or lost by what broke the hub
            self._end(picture, None, error)

    def _start(self, picture: Picture) -> None:
        self._live.add(picture)
        error = picture.stop()
        if error is not None:
            return self._end(picture, None, error)
        picture._greenlet = greenlet.greenlet(picture.run)
        self._resume(picture, None)

    def _end(self, picture: Picture, result: Any, error: BaseException | None) -> None:
        picture._greenlet = picture._call = None
        self._live.discard(picture)
        try:
            picture.done(result, error)
        except Exception:  # one picture's owner must not take the others down
            _log.exception("a picture could not be handed over")

    def _end_stopped(self) -> None:
        parked, self._parked = self._parked, deque()
        for picture in parked:
            error = picture.stop()
            if error is None:
                self._parked.append(picture)
            else:
                self._resume(picture, _Failure(error))

    def _resume(self, picture: Picture, outcome: Any) -> None:
        """Let a picture run until it parks again or ends."""
        picture._calls_done += picture._call is not None
        picture._call = None
        self._running = picture
        try:
            if isinstance(outcome, _Failure):
                result = picture._greenlet.throw(*outcome.take())
            elif picture._greenlet:
                result = picture._greenlet.switch(outcome)
            else:
                result = picture._greenlet.switch()
        except BaseException as error:  # SystemExit from a pipeline must not take the others down
            if error.__traceback__ is not None:  # without this frame, from which its callers can be reached: a cycle
                error.__traceback__ = error.__traceback__.tb_next
            self._end(picture, None, error)
            return
        finally:
            self._running = None
        if picture._greenlet.dead:
            self._end(picture, result, None)
        else:
            picture._parked_at = self._rounds
            self._parked.append(picture)

    def _next_group(self) -> list[Picture]:
        """Of the signature whose turn it is: the most urgent calls within the limits, as many as should share.

        Signatures take turns, however many pictures wait in each: urgency counts among calls that can share.
        """
        if not self._parked:
            return []
        signature = self._parked[0]._call.signature
        alike = [picture for picture in self._parked if picture._call.signature == signature]
        others = [picture for picture in self._parked if picture._call.signature != signature]
        alike.sort(key=self._urgency, reverse=True)
        group = self._within_limits(alike)
        if len(group) > 1:
            rows = [picture._call.rows for picture in group]
            del group[worth_sharing(list(map(self._urgency, group)), rows, self._fixed_rows(signature)) :]
        taken = set(group)
        self._parked = deque(others + [picture for picture in alike if picture not in taken])
        return group

    def _urgency(self, picture: Picture) -> float:
        done = picture._calls_done
        # Of a picture that has made more calls than expected, as many again are expected.
        left = picture.expected_calls - done if done < picture.expected_calls else done
        return urgency(left, self._rounds - picture._parked_at)

    def _within_limits(self, pictures: Sequence[Picture]) -> list[Picture]:
        """The first, and those after it that still fit."""
        group: list[Picture] = []
        rows = pixels = 0
        most_pixels = self._limits.max_batch_pixels or math.inf
        for picture in pictures:
            call = picture._call
            if not group or (rows + call.rows <= self.row_limit and pixels + call.pixels <= most_pixels):
                group.append(picture)
                rows += call.rows
                pixels += call.pixels
        return group

    def _isolated(self, calls: Sequence[Any]) -> list[Any]:
        """Outputs of the calls in order, a `_Failure` for each that fails also by itself."""
        if not calls:
            return []
        try:
            outputs = list(self._forward(calls))
            if len(outputs) != len(calls):
                raise RuntimeError(f"{len(outputs)} outputs for {len(calls)} calls")
        except Exception as error:
            if isinstance(error, self._out_of_memory):
                self.row_limit = max(1, min(self.row_limit, sum(call.rows for call in calls) // 2))
                self._since_out_of_memory = 0
            if len(calls) == 1:
                return [_Failure(error)]
        else:
            self._since_out_of_memory += 1
            if self._since_out_of_memory % self.REGROW_AFTER == 0:
                self.row_limit = min(self._limits.max_batch_rows, self.row_limit + 1)
            return outputs
        # Outside the except block: the exception's traceback holds the tensors of the failed forward.
        self.isolation_retries += 1
        half = len(calls) // 2
        return self._isolated(calls[:half]) + self._isolated(calls[half:])


@dataclass
class _Failure:
    """Hands over an exception and forgets it: its traceback leads to the tensors of the call, and back to here."""

    error: Exception | None

    def take(self) -> tuple[type[Exception], Exception, TracebackType | None]:
        """Type, exception and traceback: without the last, `throw` forgets where in the model it was raised."""
        assert self.error is not None
        error, self.error = self.error, None
        return type(error), error, error.__traceback__
