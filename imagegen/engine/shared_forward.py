"""One forward that pipeline runs share, in a greenlet of its own: it can be preempted, and go on later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import greenlet

from imagegen.engine.pipeline_run import PipelineRun
from imagegen.engine.scheduler import Rest


class Preempts(Protocol):
    """The part of an executor that a forward needs while it runs."""

    def give_way(self, rest: Rest) -> bool:
        """Let others have the device."""

    def make_room(self) -> bool:
        """Let what was preempted end."""


class SharedForward:
    """A forward that has been begun. Where it was preempted it waits in the scheduler, for all of its runs.

    Args:
        runs: that wait for it, one or more; their calls are of one batch key.
        forward: runs their calls and returns their outputs in order.
        executor: whose methods `give_way` and `make_room` its greenlet has as attributes.

    Attributes:
        call: what is left of it, where it was preempted.
        waiting_since: set by the scheduler.
    """

    def __init__(
        self,
        runs: Sequence[Any],
        forward: Callable[[Sequence[Any]], Sequence[Any]],
        executor: Preempts,
    ) -> None:
        self.runs: Sequence[PipelineRun] = runs
        self.call: Any = None
        self.waiting_since = 0
        self._calls = [run.call for run in runs]
        own: Any = greenlet.greenlet(forward)
        own.give_way, own.make_room = executor.give_way, executor.make_room
        self._greenlet = own

    @property
    def calls_left(self) -> int:
        """Of the run that has least left."""
        return min(run.calls_left for run in self.runs)

    def stop(self) -> Exception | None:
        """What ends it: of the last of its runs, where all of them are to stop."""
        errors = [run.stop() for run in self.runs]
        return errors[-1] if all(error is not None for error in errors) else None

    def go_on(self) -> Sequence[Any] | None:
        """Begin, or go on where it was preempted; its outputs, None where it was preempted (again)."""
        self.call = None
        calls, self._calls = self._calls, []  # the forward alone holds their tensors
        outputs = self._greenlet.switch() if self._greenlet else self._greenlet.switch(calls)
        return outputs if self._greenlet.dead else None

    def end(self) -> None:
        """Leave it where it is, for good."""
        self._greenlet.throw(greenlet.GreenletExit)
