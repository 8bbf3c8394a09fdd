"""The loop that `imagegen serve` and `imagegen supervise` spend their lives in."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from imagegen.launch.supervisor import TICK_S, Supervisor


def keep_serving(supervisor: Supervisor, each_tick: Callable[[], None]) -> None:
    """Start the server and keep it serving until TERM or Ctrl-C; afterwards further signals are ignored.

    To be called on the main thread, which alone gets signals. The server is not ended here.

    Args:
        supervisor: of a server that has not been started.
        each_tick: called after each tick of the supervisor, so several times a second.

    Raises:
        ServerError: the server failed before it ever served.
    """
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    # INT too is set by us: a shell's background job inherits it as ignored, and Python then leaves it so.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    supervisor.start()
    while not stopping:
        supervisor.tick()
        each_tick()
        time.sleep(TICK_S)
    supervisor.drain()
