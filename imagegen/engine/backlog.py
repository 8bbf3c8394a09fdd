"""Whether requests wait for a slot, as the policy wants to know it before each forward."""

from __future__ import annotations

from collections.abc import Callable

_REMEMBERED_FORWARDS = 4


class Backlog:
    """Asked once a forward, on the device thread; told by whoever has a line, from any thread.

    Behind a server that takes one request at a time out of its own queue, nobody waits for the moment between a request
    that was given a slot and the next one that is taken. So a line counts for some forwards longer than it is there.

    Attributes:
        waiting: says how many requests wait in the line of this process.
        waits_elsewhere: whether requests wait in the line of another process.
    """

    def __init__(self) -> None:
        self.waiting: Callable[[], int] = lambda: 0
        self.waits_elsewhere = False
        self._forwards_left = 0

    def seen(self) -> bool:
        """Whether somebody waits, or did at one of the last forwards."""
        if self.waits_elsewhere or self.waiting():
            self._forwards_left = _REMEMBERED_FORWARDS
        elif self._forwards_left:
            self._forwards_left -= 1
        return self._forwards_left > 0
