"""How many requests of one key may be under way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from imagegen.openai.errors import Busy


class Places:
    """A bounded number of places for each key. For one event loop.

    Args:
        most: places of a key; 0 for no bound.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[str] = Counter()

    @contextmanager
    def place(self, key: str) -> Iterator[None]:
        """Hold a place.

        Raises:
            Busy: all are taken.
        """
        if self._most and self._taken[key] >= self._most:
            raise Busy(f"this API key has {self._most} requests under way, which is its limit")
        self._taken[key] += 1
        try:
            yield
        finally:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]
