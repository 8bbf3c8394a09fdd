"""Bytes that live on the device, their peak, and a limit at which torch's own out-of-memory error is raised."""

from __future__ import annotations

import threading
import weakref
from collections import Counter

import torch

from tests.accelerator.source_line import source_line


class Allocation:
    """The bytes of one storage. All tensors that are views of it hold the same object; they are free without it."""

    __slots__ = ("__weakref__", "size_bytes")

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes


class Memory:
    """Accounts for allocations. Safe from any thread.

    Attributes:
        live_bytes: of all storages that live.
        peak_bytes: the most at any time since `reset_peak`.
        limit_bytes: the most that is allowed; None for no limit.
    """

    def __init__(self) -> None:
        self.live_bytes = self.peak_bytes = 0
        self.limit_bytes: int | None = None
        self._by_line: Counter[str] = Counter()
        self._lock = threading.RLock()  # an allocation may end, in a garbage collection, while another begins

    def allocate(self, size_bytes: int) -> Allocation:
        """Account for a new storage.

        Raises:
            torch.OutOfMemoryError: the limit would be passed.
        """
        line = source_line()
        with self._lock:
            if self.limit_bytes is not None and self.live_bytes + size_bytes > self.limit_bytes:
                raise torch.OutOfMemoryError(
                    f"out of memory: {size_bytes} bytes at {line}, {self.live_bytes} of {self.limit_bytes} are held"
                )
            self._change(size_bytes, line)
        allocation = Allocation(size_bytes)
        weakref.finalize(allocation, self._free, size_bytes, line).atexit = False
        return allocation

    def reset_peak(self) -> None:
        """Measure the peak from here on."""
        self.peak_bytes = self.live_bytes

    def by_line(self) -> Counter[str]:
        """Live bytes by the line of source that allocated them."""
        with self._lock:
            return Counter({line: held for line, held in self._by_line.items() if held})

    def _free(self, size_bytes: int, line: str) -> None:
        with self._lock:
            self._change(-size_bytes, line)

    def _change(self, by_bytes: int, line: str) -> None:
        self.live_bytes += by_bytes
        self._by_line[line] += by_bytes
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
