"""The hub: step-level continuous batching of unmodified pipeline calls.

Every image is a greenlet that runs a plain pipeline call. Where the pipeline calls its denoiser it parks
instead, with the `Call` it wants done. The hub merges parked calls of equal signature into one forward, as many as
should share it (`sharing`), hands each its part and lets it run on to its next call. Images join and leave at any
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

from imagegen.engine.sharing import urgency, worth_sharing


class Call(Protocol):
    """One module call that an image waits for.

    Attributes:
        signature: calls of equal signature may share a forward.
        rows: length of the batch dimension, 1 or more.
        pixels: rows times the image's pixels, a measure of the memory a forward takes.
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
class PipelineRun:
    """One greenlet's work.

    Attributes:
        run: the pipeline call; runs inside the greenlet, on the hub's thread.
        done: called exactly once, on the hub's thread, with the result of `run` or the exception that ended it.
        stop: asked before every forward; an exception ends the image with it, None lets it go on.
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
    """Runs images to their end, sharing forwards.

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
        self._submitted: deque[PipelineRun] = deque()
        self._parked: deque[PipelineRun] = deque()  # signatures whose last forward is longest ago first
        self._rounds = 0
        self._live: set[PipelineRun] = set()  # started and not ended
        self._running: PipelineRun | None = None
        self._greenlet: Any = None
        self.row_limit = limits.max_batch_rows
        self._since_out_of_memory = self.isolation_retries = 0

    @property
    def active(self) -> int:
        """Images that have not ended."""
        return len(self._submitted) + len(self._live)

    def submit(self, image: PipelineRun) -> None:
        """Take an image; it starts at the next tick. Safe from any thread."""
        self._submitted.append(image)

    def call(self, call: Any) -> Any:
        """Have `call` done, from inside `PipelineRun.run`: parks the image until its forward has run.

        Outside any image the call runs at once, alone.
        """
        image = self._running
        if image is None or image._greenlet is not greenlet.getcurrent():
            return self._forward([call])[0]
        image._call = call
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
        for image, outcome in zip(group, self._isolated([image._call for image in group]), strict=True):
            self._resume(image, outcome)
        return True

    def abandon(self, error: Exception) -> None:
        """End every image with `error`."""
        self._greenlet = greenlet.getcurrent()
        while self._submitted:
            self._end(self._submitted.popleft(), None, error)
        parked, self._parked = self._parked, deque()
        for image in parked:
            self._resume(image, _Failure(error))
        self._parked.clear()
        for image in list(self._live):  # ran on although told to end, or lost by what broke the hub
            self._end(image, None, error)

    def _start(self, image: PipelineRun) -> None:
        self._live.add(image)
        error = image.stop()
        if error is not None:
            return self._end(image, None, error)
        image._greenlet = greenlet.greenlet(image.run)
        self._resume(image, None)

    def _end(self, image: PipelineRun, result: Any, error: BaseException | None) -> None:
        image._greenlet = image._call = None
        self._live.discard(image)
        try:
            image.done(result, error)
        except Exception:  # one image's owner must not take the others down
            _log.exception("an image could not be handed over")

    def _end_stopped(self) -> None:
        parked, self._parked = self._parked, deque()
        for image in parked:
            error = image.stop()
            if error is None:
                self._parked.append(image)
            else:
                self._resume(image, _Failure(error))

    def _resume(self, image: PipelineRun, outcome: Any) -> None:
        """Let an image run until it parks again or ends."""
        image._calls_done += image._call is not None
        image._call = None
        self._running = image
        try:
            if isinstance(outcome, _Failure):
                result = image._greenlet.throw(*outcome.take())
            elif image._greenlet:
                result = image._greenlet.switch(outcome)
            else:
                result = image._greenlet.switch()
        except BaseException as error:  # SystemExit from a pipeline must not take the others down
            if error.__traceback__ is not None:  # without this frame, from which its callers can be reached: a cycle
                error.__traceback__ = error.__traceback__.tb_next
            self._end(image, None, error)
            return
        finally:
            self._running = None
        if image._greenlet.dead:
            self._end(image, result, None)
        else:
            image._parked_at = self._rounds
            self._parked.append(image)

    def _next_group(self) -> list[PipelineRun]:
        """Of the signature whose turn it is: the most urgent calls within the limits, as many as should share.

        Signatures take turns, however many images wait in each: urgency counts among calls that can share.
        """
        if not self._parked:
            return []
        signature = self._parked[0]._call.signature
        alike = [image for image in self._parked if image._call.signature == signature]
        others = [image for image in self._parked if image._call.signature != signature]
        alike.sort(key=self._urgency, reverse=True)
        group = self._within_limits(alike)
        if len(group) > 1:
            rows = [image._call.rows for image in group]
            del group[worth_sharing(list(map(self._urgency, group)), rows, self._fixed_rows(signature)) :]
        taken = set(group)
        self._parked = deque(others + [image for image in alike if image not in taken])
        return group

    def _urgency(self, image: PipelineRun) -> float:
        done = image._calls_done
        # Of an image that has made more calls than expected, as many again are expected.
        left = image.expected_calls - done if done < image.expected_calls else done
        return urgency(left, self._rounds - image._parked_at)

    def _within_limits(self, images: Sequence[PipelineRun]) -> list[PipelineRun]:
        """The first, and those after it that still fit."""
        group: list[PipelineRun] = []
        rows = pixels = 0
        most_pixels = self._limits.max_batch_pixels or math.inf
        for image in images:
            call = image._call
            if not group or (rows + call.rows <= self.row_limit and pixels + call.pixels <= most_pixels):
                group.append(image)
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
