"""The loop that `imagegen serve` and `imagegen supervise` spend their lives in."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from imagegen.launch.supervisor import TICK_S, Supervisor

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Takes note of TERM and Ctrl-C from the moment that it is made, instead of letting them end the process.

    To be made and used on the main thread, which alone gets signals.

    Attributes:
        received: whether there has been one.
    """

    def __init__(self) -> None:
        self.received = False
        # INT too is set by us: a shell's background job inherits it as ignored, and Python then leaves it so.
        for number in _SIGNALS:
            signal.signal(number, self._receive)

    def interrupt_at_next(self) -> None:
        """Let the next one, of either kind, raise KeyboardInterrupt."""
        for number in _SIGNALS:
            signal.signal(number, signal.default_int_handler)

    def _receive(self, *_: object) -> None:
        self.received = True


def keep_serving(supervisor: Supervisor, each_tick: Callable[[], None], stop: StopSignals) -> None:
    """Start the server and keep it serving until TERM or Ctrl-C. The server is not ended here.

    Args:
        supervisor: of a server that has not been started.
        each_tick: called after each tick of the supervisor, so several times a second.
        stop: ends the loop; a signal that came before the server was started leaves it so.

    Raises:
        ServerError: the server failed before it ever served.
    """
    if not stop.received:
        supervisor.start()
    while not stop.received:
        supervisor.tick()
        each_tick()
        time.sleep(TICK_S)
    supervisor.drain()
