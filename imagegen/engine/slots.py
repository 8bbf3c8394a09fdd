"""Admission: one slot a request. While none is free `execute` blocks, so the waiting line is Triton's own queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from imagegen.api.errors import Cancelled, DeadlineExceeded

_POLL_S = 0.05


class Slots:
    """A bounded number of requests that are being drawn.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self._free = threading.BoundedSemaphore(count)

    def take(self, is_cancelled: Callable[[], bool], deadline_s: float | None) -> None:
        """Take a slot, waiting while none is free.

        Args:
            is_cancelled: asked now and then, and once there is a slot; true ends the wait.
            deadline_s: on the clock of `time.monotonic`; None for none.

        Raises:
            Cancelled: the client walked away.
            DeadlineExceeded: the deadline passed while waiting.
        """
        while deadline_s is None or time.monotonic() <= deadline_s:
            taken = self._free.acquire(timeout=_POLL_S)
            if is_cancelled():
                if taken:
                    self.give_back()
                raise Cancelled("the client cancelled the request")
            if taken:
                return
        raise DeadlineExceeded("timeout_ms passed before the request was started")

    def give_back(self) -> None:
        """Free a slot."""
        self._free.release()
