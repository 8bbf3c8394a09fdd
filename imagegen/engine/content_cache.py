"""Values by content key, within a budget of bytes."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Any

from cachetools import LRUCache

from imagegen.metrics import CacheStatistics


class ContentCache:
    """Values by key; the least recently used leave when the bytes do not suffice. Safe from any thread.

    Args:
        max_bytes: most bytes held; 0 turns the cache off.

    Raises:
        ValueError: `max_bytes` is negative.
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes: {max_bytes}; 0 (off) or more is allowed")
        self.max_bytes = max_bytes
        self._entries: LRUCache[Hashable, tuple[Any, int]] = LRUCache(max_bytes, getsizeof=lambda entry: entry[1])
        self._lock = threading.Lock()
        self._hits = self._misses = self._evictions = 0

    def get(self, key: Hashable) -> Any:
        """The value, now the most recently used; None when there is none."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                self._misses += 1
                return None
            self._hits += 1
            return entry[0]

    def __contains__(self, key: Hashable) -> bool:
        """Whether there is a value; not counted, and it is used no more recently."""
        with self._lock:
            return key in self._entries

    def put(self, key: Hashable, value: Any, size_bytes: int) -> None:
        """Keep a value, other than None; one larger than the whole cache is not kept."""
        if size_bytes > self.max_bytes:
            return
        with self._lock:
            self._entries.pop(key, None)  # else room would be made for both
            before = len(self._entries)
            self._entries[key] = (value, size_bytes)
            self._evictions += before + 1 - len(self._entries)

    def remove(self, key: Hashable) -> None:
        """Forget a value, if there is one. Not counted as an eviction."""
        with self._lock:
            self._entries.pop(key, None)

    def clear(self) -> None:
        """Forget everything, for instance after weights have changed. Not counted as evictions."""
        with self._lock:
            self._entries.clear()

    @property
    def statistics(self) -> CacheStatistics:
        """The counters, consistent with each other."""
        with self._lock:
            bytes_held = int(self._entries.currsize)
            return CacheStatistics(self._hits, self._misses, self._evictions, bytes_held, len(self._entries))
