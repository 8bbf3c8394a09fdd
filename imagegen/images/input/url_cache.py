"""A cache of fetched bodies."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from cachetools import TLRUCache

from imagegen.images.input.fetch import Fetched
from imagegen.metrics import CacheStatistics

ENTRY_BYTES = 512  # counted for each entry beside its body and key, or many tiny ones would outgrow the limit

_Entry = tuple[Fetched, int]  # with what it counts, in bytes


class _Bodies(TLRUCache[str, _Entry]):
    evictions = 0

    def popitem(self) -> tuple[str, _Entry]:
        self.evictions += 1  # for want of room; what is too old leaves by another way
        return super().popitem()


class UrlCache:
    """Keeps bodies for their lifetime within a budget of bytes; the least recently used leave first.

    Safe from any thread.

    Args:
        max_bytes: most bytes held, keys included; 0 turns the cache off.
        clock: seconds.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._bodies = _Bodies(
            max_bytes,
            ttu=lambda _, entry, now: now + entry[0].lifetime_s,
            timer=clock,
            getsizeof=lambda entry: entry[1],
        )
        self._lock = threading.Lock()
        self._hits = self._misses = 0

    def get(self, key: str) -> Fetched | None:
        """What was kept under exactly this key; None when there is nothing."""
        if not self._max_bytes:
            return None
        with self._lock:
            entry: _Entry | None = self._bodies.get(key)
            if entry is None:
                self._misses += 1
                return None
            self._hits += 1
            return entry[0]

    def put(self, key: str, fetched: Fetched) -> None:
        """Keep a body, unless its lifetime is over or it is larger than the whole cache."""
        size_bytes = len(fetched.body) + len(key) + len(fetched.declared_type) + ENTRY_BYTES
        if fetched.lifetime_s > 0 and size_bytes <= self._max_bytes:
            with self._lock:
                self._bodies[key] = fetched, size_bytes

    @property
    def statistics(self) -> CacheStatistics:
        """The counters, consistent with each other."""
        with self._lock:
            self._bodies.expire()
            bodies = self._bodies
            return CacheStatistics(self._hits, self._misses, bodies.evictions, int(bodies.currsize), len(bodies))
