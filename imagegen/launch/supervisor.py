"""Starts a server again whose model process died, that ended, or that hangs.

    STARTING ──ready──> SERVING ──trouble: killed──> WAITING ──back-off over──> STARTING
        └───────────trouble: killed────────────────────^

The whole server, not the one model: requests that a dead model process took never get a response from release 24.10,
and unloading its model waits for them. When the server goes, every connection breaks at once, which gRPC and our
clients report as UNAVAILABLE, and the frontend as 503. While it is not SERVING its ports are closed: no probe finds it
ready.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from typing import Protocol

from imagegen.backoff import USUAL_BACKOFF, Backoff
from imagegen.launch.child_process import ServerError

TICK_S = 0.25
"""How often `tick` is to be called; a dead model process is noticed at the next one."""
_LIVE_CHECK_S = 5.0


class State(enum.Enum):
    """Where a supervised server is."""

    STARTING = "starting"
    SERVING = "serving"
    WAITING = "waiting to be started again"
    DRAINING = "shutting down"


class Supervised(Protocol):
    """What the supervisor needs of a server; see `imagegen.launch.triton_server`."""

    @property
    def ready_timeout_s(self) -> float:
        """Longest wait for every model to be loaded and warm."""

    def launch(self) -> None:
        """Start it without waiting; raises ServerError."""

    def kill(self) -> None:
        """End it at once, with everything it started."""

    def is_ready(self) -> bool:
        """Whether it says that it is ready to serve."""

    def note_workers(self) -> None:
        """Note the model processes that have been started."""

    def trouble(self) -> str | None:
        """Why it cannot go on; None when it can."""

    def hangs(self) -> bool:
        """Whether it has not responded for long."""

    def reason(self) -> str:
        """What its log says of why it does not serve."""


class Supervisor:
    """Keeps one server serving. `tick` is to be called every `TICK_S`, on the thread that called `start`.

    Args:
        server: what to keep serving.
        report: called with one sentence for each failure and recovery.
        backoff: waits between starts.
        clock: seconds that only go forward.

    Attributes:
        state: where the server is.
        restarts: how often it was started again.
        ticked_s: when `tick` was called last, on the clock.
    """

    def __init__(
        self,
        server: Supervised,
        report: Callable[[str], None],
        backoff: Backoff = USUAL_BACKOFF,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = State.STARTING
        self.restarts = 0
        self.ticked_s = clock()
        self._server = server
        self._report = report
        self._backoff = backoff
        self._clock = clock
        self._since_s = clock()  # in this state
        self._failures = 0
        self._has_served = False
        self._live_check_s = 0.0

    def start(self) -> None:
        """Start the server.

        Raises:
            ServerError: it cannot be started.
        """
        self._enter(State.STARTING)
        self._server.launch()

    def drain(self) -> None:
        """Say that the server is being ended on purpose."""
        self._enter(State.DRAINING)

    def tick(self) -> None:
        """See how the server is, and do what is to be done.

        Raises:
            ServerError: it failed before it ever served, which to repeat is of no use.
        """
        now_s = self.ticked_s = self._clock()
        if self.state is State.DRAINING:
            return
        if self.state is State.WAITING:
            if now_s - self._since_s >= self._backoff.wait_s(self._failures):
                self._start_again()
        elif (trouble := self._trouble(now_s)) is not None:
            self._fail(trouble)
        elif self.state is State.STARTING:
            self._server.note_workers()
            if self._server.is_ready():
                self._server.note_workers()
                self._report("the server is ready")
                self._enter(State.SERVING)

    def _trouble(self, now_s: float) -> str | None:
        if (trouble := self._server.trouble()) is not None:
            return trouble
        if self.state is State.STARTING:
            late = now_s - self._since_s > self._server.ready_timeout_s
            return f"the server is not ready after {self._server.ready_timeout_s:g} s" if late else None
        if now_s - self._live_check_s < _LIVE_CHECK_S:
            return None
        self._live_check_s = now_s
        return "the server does not respond" if self._server.hangs() else None

    def _fail(self, trouble: str) -> None:
        if self.state is State.SERVING and self._clock() - self._since_s >= self._backoff.stable_s:
            self._failures = 0
        self._failures += 1
        self._server.kill()
        if not self._has_served:
            raise ServerError(f"{trouble}: {self._server.reason()}")
        wait_s = self._backoff.wait_s(self._failures)
        self._report(f"{trouble}; it is started again" + (f" in {wait_s:g} s" if wait_s else ""))
        self._enter(State.WAITING)
        if not wait_s:
            self._start_again()

    def _start_again(self) -> None:
        self.restarts += 1
        self._enter(State.STARTING)
        try:
            self._server.launch()
        except ServerError as error:
            self._fail(str(error))

    def _enter(self, state: State) -> None:
        self.state = state
        self._since_s = self._clock()
        self._has_served |= state is State.SERVING
