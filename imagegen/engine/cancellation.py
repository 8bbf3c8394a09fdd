"""Watches whether clients of running requests have walked away, off the device thread.

Asking Triton costs a round trip between processes, so it is not done between two steps.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from imagegen.engine.generation_job import Order

_log = logging.getLogger(__name__)

_POLL_S = 0.02  # about one step of a fast model


class CancellationWatch:
    """Cancels orders whose client has gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[Order, Callable[[], bool]] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cancellation", daemon=True)
        self._thread.start()

    @property
    def watched(self) -> int:
        """How many orders are being watched."""
        return len(self._watched)

    def add(self, order: Order, is_cancelled: Callable[[], bool]) -> None:
        """Watch an order until `remove`."""
        with self._lock:
            self._watched[order] = is_cancelled

    def remove(self, order: Order) -> None:
        """Stop watching an order."""
        with self._lock:
            self._watched.pop(order, None)

    def close(self) -> None:
        """End the watch."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(_POLL_S):
            self._cancel_gone()

    def _cancel_gone(self) -> None:
        # Not in the loop, whose variables would keep the last request until the next one comes.
        with self._lock:
            watched = list(self._watched.items())
        for order, is_cancelled in watched:
            try:
                gone = is_cancelled()
            except Exception:  # one request that cannot be asked must not end the watch of all
                _log.exception("whether a client has gone could not be asked")
                gone = False
            if gone:
                order.cancel()
                self.remove(order)
