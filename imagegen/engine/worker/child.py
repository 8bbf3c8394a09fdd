"""What the processes of an engine have in common: how they begin, how they end, and that they end with their parent."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from imagegen.engine.worker.connection import Connection

SWITCH_INTERVAL_S = 0.0002
"""How long a thread computes in Python while another wants to. By default 0.005 s, which the device's thread would wait
after each call of torch while an adapter is read: a step of 300 calls becomes 0.3 s longer."""

_LAST_WORDS_MS = 5000
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def begin_child() -> None:
    """Log to standard error, leave Ctrl-C to the parent, and end with it, however it ends.

    The parent's thread that started this process lives as long as this process is to live.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for who started it, and who drains it then
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # By the kernel, also while this process is stopped.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


@contextmanager
def importing() -> Iterator[None]:
    """Look for no garbage within, and never at what is there afterwards: modules stay for as long as the process.

    Those of an engine have half a million objects. Python looks through them a dozen times while it imports them, 0.9 s
    of 6, and 0.26 s each time from then on, for which the device's thread waits.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def end_child(connection: Connection) -> None:
    """Say the last words and end. torch and CUDA may take seconds to take themselves down, for nothing."""
    connection.close(_LAST_WORDS_MS)
    end(0)


def end(status: int) -> NoReturn:
    """End this process at once, from any thread."""
    logging.shutdown()
    sys.stderr.flush()
    os._exit(status)


def _end_with_parent() -> None:
    """Standard input is a pipe that the parent holds open and never writes to; it may have died before `prctl`."""
    while os.read(0, 1):
        pass
    os._exit(1)
