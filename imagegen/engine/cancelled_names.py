"""Requests that were cancelled by name: by their Triton request id, or by the id of the stream they are drawn for."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Set

_MOST_REMEMBERED = 10_000


class CancelledNames:
    """The names that were cancelled lately. Safe from any thread.

    A cancel means all requests of that name that had come to the server by then, and no later ones. Some of them may
    still wait in Triton's queue, out of our sight; so the time is remembered.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled_s: OrderedDict[str, float] = OrderedDict()
        self._taken: Counter[str] = Counter()

    def cancel(self, name: str) -> bool:
        """Cancel every request of this name; whether one has been taken and not ended."""
        with self._lock:
            self._cancelled_s[name] = time.monotonic()
            self._cancelled_s.move_to_end(name)
            if len(self._cancelled_s) > _MOST_REMEMBERED:
                self._cancelled_s.popitem(last=False)
            return name in self._taken

    def include(self, names: Set[str], arrived_s: float) -> bool:
        """Whether a request with these names, that came at this time of `time.monotonic`, was cancelled."""
        with self._lock:
            return any(name in self._cancelled_s and arrived_s <= self._cancelled_s[name] for name in names)

    def take(self, names: Set[str]) -> None:
        """A request with these names has come to this model."""
        with self._lock:
            self._taken.update(names)

    def end(self, names: Set[str]) -> None:
        """A request that was taken has ended."""
        with self._lock:
            self._taken.subtract(names)
            for name in names:
                if not self._taken[name]:
                    del self._taken[name]
