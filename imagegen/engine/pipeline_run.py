"""What an executor runs: pipeline calls, and the forwards that these share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from imagegen.engine.shared_task import SharedTask


class Arrival(Protocol):
    """Something that comes from the device."""

    def arrived(self) -> bool:
        """Whether it is there; does not wait."""

    def wait(self) -> None:
        """Wait until it is there."""


@dataclass(eq=False)
class PipelineRun:
    """One greenlet's work: a pipeline call that makes one image.

    Attributes:
        run: the pipeline call; runs inside the greenlet, on the executor's thread.
        done: called exactly once, on the executor's thread, with the result of `run` or the exception that ended it.
        stop: asked before every forward; an exception ends the run with it, None lets it go on.
        expected_calls: denoiser calls that `run` will make, as well as is known; 1 or more.
        call: the denoiser call that it waits for; None while it runs, or waits for an arrival.
        arrival: what it waits for instead; see `Executor.suspend_until`.
        task: or this; see `Executor.share`.
        waiting_since: set by the scheduler.
    """

    run: Callable[[], Any]
    done: Callable[[Any, BaseException | None], None]
    stop: Callable[[], Exception | None] = lambda: None
    expected_calls: int = 1
    call: Any = field(default=None, init=False, repr=False)
    arrival: Arrival | None = field(default=None, init=False, repr=False)
    task: SharedTask | None = field(default=None, init=False, repr=False)
    waiting_since: int = field(default=0, init=False, repr=False)
    _greenlet: Any = field(default=None, init=False, repr=False)
    _calls_done: int = field(default=0, init=False, repr=False)

    @property
    def calls_left(self) -> int:
        """Calls still expected; of a run that has made more than expected, as many again as it has made."""
        done = self._calls_done
        return self.expected_calls - done if done < self.expected_calls else done
