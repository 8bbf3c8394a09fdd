"""Puts an engine's process to sleep and wakes it, when it is told to, or when nothing is to be generated.

               awake ──Sleep──> level 1: the process keeps its weights in the host's memory ──Wake──> awake
                 │                 │ Close, or its own end
                 └────Close────────┴──> level 2: there is no process ──a new one──────────────────> awake

Who calls `sleep` and `wake` waits here; what the process does comes from the watch's thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from imagegen.api.errors import Unavailable
from imagegen.api.limits import check_sleep_level
from imagegen.engine.line import Line
from imagegen.engine.settings import EngineSettings
from imagegen.engine.worker.messages import Close, Sleep, Wake, frames_of
from imagegen.engine.worker.remote_metrics import RemoteMetrics
from imagegen.engine.worker.worker_process import WorkerProcess

_EXIT_S = 10.0  # of a process that has nothing left to do
_ALIVE_EVERY_S = 1.0

_log = logging.getLogger(__name__)


class SleepControl:
    """Whether one engine's process is to sleep, and whether it does.

    Args:
        settings: how long is waited for what is being generated, and when it sleeps by itself.
        line: of the requests; nobody gets a slot while the process sleeps.
        metrics: are told of the level.
        worker: the process; None while there is none.

    Attributes:
        level: how deeply it is to sleep: 1, 2, or 0 for not at all.
    """

    def __init__(
        self,
        settings: EngineSettings,
        line: Line[Any],
        metrics: RemoteMetrics,
        worker: Callable[[], WorkerProcess | None],
    ) -> None:
        self._settings = settings
        self._line = line
        self._metrics = metrics
        self._worker = worker
        # The other processes of an engine with several devices keep their weights where they are.
        self._least_level = 1 if len(settings.devices) < 2 else 2
        self.level = 0
        self._reached = 0  # the level at which the process is
        self._is_loaded = self._is_closed = self._is_waking = False
        self._is_idle_sleep = False  # it fell asleep by itself, and a request wakes it
        self._error: BaseException | None = None  # why the last attempt to wake failed
        self._busy_s = time.monotonic()
        self._turn = threading.Lock()  # of who lets it sleep or wakes it
        self._changed = threading.Condition()

    def sleep(self, level: int) -> None:
        """See `ImageGenerator.sleep`."""
        check_sleep_level(level)
        level = max(level, self._least_level)
        with self._turn:
            self._settle()  # it may be falling asleep by itself
            before = self.level
            with self._changed:
                self._check_open()
                self._is_idle_sleep = False
                self._line.sleep()
                if level <= before:
                    return
                self._set_level(level)
            drained = before > 0 or self._line.drain(self._settings.drain_timeout_s)
            if not drained and level == 1:
                self._line.end_all(Unavailable("the model was put to sleep; send the request again"))
                drained = self._line.drain(self._settings.hang_timeout_s)
            self._tell(gently=drained)
            self._settle()

    def wake(self, *, if_idle: bool = False) -> None:
        """See `ImageGenerator.wake`; `if_idle`: only where it fell asleep by itself."""
        with self._turn:
            if not self.level or (if_idle and not self._is_idle_sleep):
                return
            self._settle()
            with self._changed:
                self._check_open()
                self._line.wake()
                self._is_idle_sleep, self._error = False, None
                self._set_level(0)
                worker = self._worker() if self._reached == 1 else None
            if worker is not None:
                worker.send(frames_of(Wake()))
            with self._changed:
                # A process that loads may take as long as it takes; one that has its weights hangs when it takes long.
                longest_s = None if worker is None else self._settings.hang_timeout_s
                if not self._changed.wait_for(self._is_awake, longest_s) and worker is not None:
                    worker.kill("hang")
                    self._changed.wait_for(self._is_awake)
                self._check_open()
                if self._error is not None:
                    raise self._error

    def arrived(self) -> None:
        """A request has come: it wakes an engine that fell asleep by itself. Does not wait for it."""
        with self._changed:
            if not self._is_idle_sleep or self._is_waking:
                return
            threading.Thread(target=self._wake_for_request, name="wake", daemon=True).start()
            self._is_waking = True

    def look(self) -> None:
        """Let it sleep when there has been nothing to do for long; on the watch's thread, twice a second or oftener."""
        now_s = time.monotonic()
        if self._is_busy or self.level:
            self._busy_s = now_s
        elif 0 < self._settings.idle_sleep_s < now_s - self._busy_s and self._turn.acquire(blocking=False):
            try:
                self._sleep_if_idle()
            finally:
                self._turn.release()

    def until_woken(self, on_alive: Callable[[], None]) -> None:
        """Wait until there is to be a process again; `on_alive` is called every second meanwhile."""
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: not self.level or self._is_closed, _ALIVE_EVERY_S):
                    return
            on_alive()

    def loaded(self, begin: Callable[[], None]) -> None:
        """The process is ready; `begin` gives slots, unless it is to sleep."""
        with self._changed:
            self._is_loaded = True
            self._busy_s = time.monotonic()
            if not self.level:
                begin()
                self._reached = 0
            self._changed.notify_all()

    def asleep(self) -> None:
        """The process sleeps at level 1."""
        with self._changed:
            self._reached = max(self._reached, 1)
            self._changed.notify_all()

    def failed(self, error: BaseException) -> None:
        """The process could not wake, and is about to end."""
        self._error = error

    def ended(self, reason: str) -> bool:
        """The process has ended; whether that is as it should be, because it is to sleep."""
        with self._changed:
            self._is_loaded = False
            if self.level:
                if reason != "closed":
                    _log.warning("the engine's process ended (%s) while it slept; to wake it starts another", reason)
                self._set_level(2)
                self._reached = 2
            elif self._reached:
                self._error = self._error or RuntimeError(f"the engine's process ended while it woke: {reason}")
                self._reached = 0
            self._changed.notify_all()
            return self.level > 0

    def close(self) -> None:
        """Nobody waits for it any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    @property
    def _is_busy(self) -> bool:
        return self._line.slots.held > 0 or self._line.slots.waiting > 0

    def _set_level(self, level: int) -> None:
        self.level = level
        self._metrics.sleeping(level)
        self._changed.notify_all()

    def _check_open(self) -> None:
        if self._is_closed:
            raise Unavailable("the server is shutting down")

    def _sleep_if_idle(self) -> None:
        slots = self._line.slots
        with self._changed:
            slots.pause()
            self._is_idle_sleep = True
            if self._is_busy:  # somebody came at this very moment
                self._is_idle_sleep = False
                return slots.resume()
            self._set_level(max(self._settings.idle_sleep_level, self._least_level))
        _log.info("nothing was asked for in %g s: the engine sleeps", self._settings.idle_sleep_s)
        self._tell(gently=True)

    def _tell(self, *, gently: bool) -> None:
        """Have the process sleep at its level; a process that is still loading, or does not end its work, is killed."""
        with self._changed:
            worker, level = self._worker(), self.level
            if worker is None:  # it has ended before, and is not started again
                self._set_level(2)
                self._reached = 2
            elif not gently or (level == 2 and not self._is_loaded):
                worker.kill("closed" if level == 2 else "hang")
            else:
                worker.send(frames_of(Sleep() if level == 1 else Close()))

    def _settle(self) -> None:
        """Wait until the process sleeps as deeply as it is to; one that takes too long is killed."""
        longest_s = _EXIT_S if self.level == 2 else self._settings.hang_timeout_s
        with self._changed:
            if self._changed.wait_for(self._is_settled, longest_s):
                return
            worker = self._worker()
            if worker is not None:
                worker.kill("hang")
            self._changed.wait_for(self._is_settled, _EXIT_S)

    def _is_awake(self) -> bool:
        return not self._reached or self._is_closed

    def _is_settled(self) -> bool:
        return self._reached >= self.level or self._is_closed

    def _wake_for_request(self) -> None:
        try:
            self.wake(if_idle=True)
        except Exception as error:  # it is tried again, as after any end of the process
            _log.warning("the engine could not be woken: %s", error)
        with self._changed:
            self._is_waking = False
            is_asleep_again = self._is_idle_sleep and self._is_busy and not self._is_closed
        if is_asleep_again:  # a request came after it had fallen asleep again, and before the line above
            self.arrived()
