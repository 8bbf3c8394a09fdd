"""A bound on how many callers do something at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class LimitReached(TimeoutError):
    """No slot became free in time."""


class ConcurrencyLimiter:
    """Lets a bounded number of callers in at the same time. Safe from any thread.

    Args:
        limit: how many, 1 or more.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._slots = threading.Semaphore(limit)
        self._lock = threading.Lock()
        self._active = 0

    @property
    def active(self) -> int:
        """Callers that are in."""
        return self._active

    @contextmanager
    def slot(self, timeout_s: float = 0.0) -> Iterator[None]:
        """Hold one slot within the block.

        Args:
            timeout_s: longest wait for one; 0 for none.

        Raises:
            LimitReached: all slots were taken for that long.
        """
        if not self._slots.acquire(timeout=timeout_s):
            raise LimitReached(f"all {self._limit} slots are taken")
        with self._lock:
            self._active += 1
        try:
            yield
        finally:
            with self._lock:
                self._active -= 1
            self._slots.release()
