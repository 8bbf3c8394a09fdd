"""A request's end: who responds to it, and until when somebody has to."""

from __future__ import annotations

import threading


class ResponseClaim:
    """Lets one of several threads respond to a request, each of which has a reason to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_taken = False

    def take(self) -> bool:
        """Whether the caller is the one; true for the first alone."""
        with self._lock:
            taken, self._is_taken = not self._is_taken, True
        return taken


def deadline_s(arrived_s: float, timeout_ms: int | None) -> float | None:
    """When a request has to be finished, on the clock on which it arrived; None for no deadline."""
    return None if timeout_ms is None else arrived_s + timeout_ms / 1000
