"""An embedded server under supervision, for tests that break it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from imagegen.backoff import Backoff
from imagegen.launch.child_process import ServerError
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.supervisor import TICK_S, State, Supervisor


class SupervisedServer(threading.Thread):
    """Started and kept on a thread of its own, as the kernel ends a server with the thread that started it.

    Args:
        server: not started yet.
        backoff: waits between starts.
    """

    def __init__(self, server: EmbeddedServer, backoff: Backoff) -> None:
        super().__init__(name="supervisor")
        self.server = server
        self.reports: list[str] = []
        self.supervisor = Supervisor(server, self.reports.append, backoff)
        self.failure: ServerError | None = None
        self._end = threading.Event()

    def run(self) -> None:
        try:
            self.supervisor.start()
            while not self._end.wait(TICK_S):
                self.supervisor.tick()
            self.supervisor.drain()
            self.server.stop()
        except ServerError as error:
            self.failure = error
        finally:
            self.server.kill()

    def stop(self) -> None:
        """Drain and end it."""
        self._end.set()
        self.join()

    def wait_for(self, state: State) -> None:
        self.wait_until(lambda: self.supervisor.state is state)

    def wait_until(self, condition: Callable[[], bool], polls: int = 6000) -> None:
        """Wait until it holds, or fail after so many looks, 20 ms apart."""
        for _ in range(polls):
            if condition():
                return
            assert self.failure is None, self.failure
            time.sleep(0.02)
        raise AssertionError(self.reports)

    def kill_worker(self, model: str, how: signal.Signals) -> None:
        """Kill a model process and wait until the server is there again."""
        (pid,) = self.server.workers.pids(model)
        before = self.supervisor.restarts
        os.kill(pid, how)
        self.wait_until(lambda: self.supervisor.restarts > before)
        self.wait_for(State.SERVING)

    def segments(self) -> list[Path]:
        """Its shared memory, and that of servers before it."""
        return list(Path("/dev/shm").glob(f"imagegen_{os.getpid()}_{id(self.server):x}_*"))
