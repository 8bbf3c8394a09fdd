"""The waiting line of static batching: requests of equal step count are taken out together."""

from __future__ import annotations

import threading
import time
from typing import Generic, TypeVar

Item = TypeVar("Item")


class StepGroups(Generic[Item]):
    """Requests that wait, oldest first.

    Better than Triton's own batcher could do: it looks past requests of another step count, and a request may
    still join a group while the device is busy with the one before.

    Args:
        limit: most requests of a group.
        delay_s: how long the oldest request waits for company, at most.
    """

    def __init__(self, limit: int, delay_s: float) -> None:
        self._limit = limit
        self._delay_s = delay_s
        self._waiting: list[tuple[float, int, Item]] = []
        self._changed = threading.Condition()
        self._closed = False

    def put(self, steps: int, item: Item) -> None:
        """Add a request. Safe from any thread."""
        with self._changed:
            self._waiting.append((time.monotonic(), steps, item))
            self._changed.notify()

    def take(self) -> list[Item]:
        """The oldest request and those of the same step count; blocks. Empty once closed and drained."""
        with self._changed:
            while True:
                if not self._waiting:
                    if self._closed:
                        return []
                    self._changed.wait()
                    continue
                arrived_s, steps, _ = self._waiting[0]
                group = [entry for entry in self._waiting if entry[1] == steps][: self._limit]
                left_s = arrived_s + self._delay_s - time.monotonic()
                if len(group) == self._limit or left_s <= 0 or self._closed:
                    chosen = set(map(id, group))
                    self._waiting = [entry for entry in self._waiting if id(entry) not in chosen]
                    return [item for _, _, item in group]
                self._changed.wait(left_s)

    def close(self) -> None:
        """Let `take` hand out what waits without delay, then nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify()
