"""Admission: one slot a request, least work first. Whoever waits for one may do so in a thread or in asyncio."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future

from imagegen.api.errors import DeadlineExceeded, Unavailable

Ticket = Future[None]
"""A ticket in the line: done once it holds a slot, or with the error that ended the wait."""


class Slots:
    """Bounds how many requests are generated at the same time. Safe from any thread.

    Of those that wait the one with least work is next, of equal ones the first that came. Who has waited longest is
    passed over by `OVERTAKING` others at most; so of p requests ahead of one, and all that come later, no more than
    `(OVERTAKING + 1) * p + OVERTAKING` are begun before it.

    Args:
        count: how many.
    """

    OVERTAKING = 7

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._holding: set[Ticket] = set()
        self._line: dict[Ticket, float] = {}  # their work, in the order of arrival
        self._overtaken = 0  # how often in turn the first of them was
        self._closed = False
        self._paused = False

    @property
    def waiting(self) -> int:
        """Requests in the line."""
        return len(self._line)

    @property
    def held(self) -> int:
        """Requests that hold a slot."""
        return len(self._holding)

    @property
    def paused(self) -> bool:
        """Whether none is given."""
        return self._paused

    def enter(self, work: float = 0.0) -> Ticket:
        """A ticket in the line, which holds a slot at once where one is free. To be given back to `leave`.

        Args:
            work: what the request takes, in any unit that all share.

        Raises:
            Unavailable: the slots are closed.
        """
        ticket: Ticket = Future()
        with self._lock:
            if self._closed:
                raise Unavailable("the server is shutting down")
            self._line[ticket] = work
            self._fill()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Free the slot of a ticket, or give up waiting; of no effect the second time."""
        with self._lock:
            if ticket in self._holding:
                self._holding.discard(ticket)
                self._fill()
            else:
                self._line.pop(ticket, None)

    def refuse(self, ticket: Ticket, error: Exception) -> None:
        """End the wait of a ticket with `error`; of no effect on one that does not wait."""
        with self._lock:
            if self._line.pop(ticket, None) is not None and ticket.set_running_or_notify_cancel():
                ticket.set_exception(error)

    def pause(self) -> None:
        """Give no slot until `resume`; who waits goes on waiting."""
        with self._lock:
            self._paused = True

    def resume(self) -> None:
        """Give slots again."""
        with self._lock:
            self._paused = False
            self._fill()

    def close(self) -> None:
        """Refuse all that wait and all that come."""
        with self._lock:
            self._closed = True
            line = list(self._line)
        for ticket in line:
            self.refuse(ticket, Unavailable("the server is shutting down"))

    def _fill(self) -> None:
        while self._line and not self._paused and len(self._holding) < self._count:
            ticket = self._next()
            if ticket.set_running_or_notify_cancel():  # else nobody waits there any more
                self._holding.add(ticket)
                ticket.set_result(None)

    def _next(self) -> Ticket:
        """Take who is next out of the line."""
        first = next(iter(self._line))
        ticket = first if self._overtaken >= self.OVERTAKING else min(self._line, key=self._line.__getitem__)
        self._overtaken = 0 if ticket is first else self._overtaken + 1
        del self._line[ticket]
        return ticket


def wait(ticket: Ticket, deadline_s: float | None) -> None:
    """Wait until a ticket holds a slot, in a thread.

    Args:
        ticket: from `Slots.enter`.
        deadline_s: on the clock of `time.monotonic`; None for none.

    Raises:
        DeadlineExceeded: the deadline passed. And what the ticket was refused with.
    """
    try:
        ticket.result(_seconds_until(deadline_s))
    except TimeoutError:
        raise _too_late() from None


async def wait_async(ticket: Ticket, deadline_s: float | None) -> None:
    """As `wait`, in asyncio."""
    try:
        async with asyncio.timeout(_seconds_until(deadline_s)):
            await asyncio.wrap_future(ticket)
    except TimeoutError:
        raise _too_late() from None


def _seconds_until(deadline_s: float | None) -> float | None:
    """How long may be waited.

    Raises:
        DeadlineExceeded: the deadline has passed, even where a slot is free.
    """
    if deadline_s is None:
        return None
    left_s = deadline_s - time.monotonic()
    if left_s < 0:
        raise _too_late()
    return left_s


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("timeout_ms passed before the request was started")
