"""The layouts that two processes both know by number, so that each is sent once."""

from __future__ import annotations

from imagegen.engine.packing import Layout

_KEPT = 1024  # a number that changes with every step, given as a Python float, makes a layout of its own each time


class SentLayouts:
    """Those that were sent: numbers are used again, the oldest first."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._next = 0

    def number(self, layout: Layout) -> tuple[int, bytes | None]:
        """The number of a layout, and its bytes where the other process has not seen it, or has forgotten it."""
        data = layout.to_bytes()
        known = self._numbers.get(data)
        if known is not None:
            return known, None
        if len(self._numbers) == _KEPT:
            del self._numbers[next(iter(self._numbers))]
        number = self._numbers[data] = self._next % _KEPT
        self._next += 1
        return number, data
