"""How many requests of one API key may be under way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from imagegen.openai.errors import Busy


class ConcurrencyLimiter:
    """A bounded number of slots for each key. For one event loop.

    Args:
        slots_per_key: requests of a key that may be under way; 0 for no bound.
    """

    def __init__(self, slots_per_key: int) -> None:
        self._slots_per_key = slots_per_key
        self._taken: Counter[str] = Counter()

    @contextmanager
    def slot(self, key: str) -> Iterator[None]:
        """Hold a slot of `key`.

        Raises:
            Busy: all are taken.
        """
        if self._slots_per_key and self._taken[key] >= self._slots_per_key:
            raise Busy(f"this API key has {self._slots_per_key} requests under way, which is its limit")
        self._taken[key] += 1
        try:
            yield
        finally:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]
