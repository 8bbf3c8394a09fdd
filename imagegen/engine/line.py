"""The line for a slot: who holds one is being generated, the others wait, and each of them can be cancelled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from imagegen.api.errors import Asleep, Cancelled, ImageGenError
from imagegen.engine.cancellation import Cancellation, CancelToken
from imagegen.engine.slots import Slots, Ticket, wait, wait_async

_DRAIN_POLL_S = 0.01


class InLine(Protocol):
    """What the line needs of a request.

    Attributes:
        token: cancels it.
        entered_s: when it came to the server, on the clock of `time.monotonic`.
    """

    token: CancelToken
    entered_s: float

    @property
    def deadline_s(self) -> float | None:
        """When it has to be finished, on that clock; None for no deadline."""

    def claim_response(self) -> bool:
        """Whether the caller is the one who responds; true for the first alone."""


class LineMetrics(Protocol):
    """Who is told how long the line is."""

    def waiting(self, count: int) -> None:
        """So many requests wait for a slot."""

    def active(self, count: int) -> None:
        """So many requests hold one."""


Request = TypeVar("Request", bound=InLine)


class Line(Generic[Request]):
    """Admits requests, those of least work first, as many at the same time as there are slots; see `Slots`.

    Args:
        count: how many slots there are.
        metrics: is told of both ends of the line.
        check: raises, of a request that is refused before it waits.
        start: begins a request that holds a slot, with its ticket, which it gives back to `leave`.
        refused: is told of a request that was never started, and why.
        left: is told, once or more, that a request has ended and holds no slot.
        work: what a request takes, in any unit that all of them share.

    Attributes:
        slots: who holds one is being generated.
    """

    def __init__(
        self,
        count: int,
        metrics: LineMetrics,
        *,
        check: Callable[[Request], None],
        start: Callable[[Request, Ticket], None],
        refused: Callable[[Request, ImageGenError], None],
        left: Callable[[Request], None] = lambda request: None,
        work: Callable[[Request], float] = lambda request: 0.0,
    ) -> None:
        self.slots = Slots(count)
        self._cancellation = Cancellation()
        self._metrics = metrics
        self._check = check
        self._start = start
        self._refused = refused
        self._left = left
        self._work = work
        self._waiting: dict[Ticket, Request] = {}  # and those that are about to wait
        self._asleep = False

    def submit(self, request: Request) -> None:
        """Start a request; blocks while no slot is free.

        Raises:
            ImageGenError: it was cancelled, came too late, or is refused, before it was started.
        """
        with self._admitting(request) as ticket:
            wait(ticket, request.deadline_s)

    async def submit_async(self, request: Request) -> None:
        """As `submit`, in asyncio."""
        with self._admitting(request) as ticket:
            await wait_async(ticket, request.deadline_s)

    def cancel(self, name: str) -> bool:
        """Cancel requests by name; whether there is one. See `Cancellation.cancel`."""
        return self._cancellation.cancel(name)

    def leave(self, request: Request, ticket: Ticket) -> None:
        """A request has ended, and its slot is free; of no effect the second time."""
        self._cancellation.end(request.token)
        request.token.on_cancel(None)
        self.slots.leave(ticket)
        self._metrics.active(self.slots.held)
        self._left(request)

    def sleep(self) -> None:
        """Give nobody a slot; who has no deadline up to which to wait is refused, now and until `wake`."""
        self._asleep = True
        self.slots.pause()
        for ticket, request in list(self._waiting.items()):
            if request.deadline_s is None:
                self.slots.refuse(ticket, Asleep())

    def wake(self) -> None:
        """Refuse nobody for a sleep any more. To give slots again is for whoever knows that there is an engine."""
        self._asleep = False

    def drain(self, timeout_s: float) -> bool:
        """Wait until nobody holds a slot any more, at most for `timeout_s` seconds; whether nobody does."""
        deadline_s = time.monotonic() + timeout_s
        while self.slots.held and time.monotonic() < deadline_s:
            time.sleep(_DRAIN_POLL_S)
        return not self.slots.held

    def end_all(self, error: ImageGenError) -> None:
        """End all that hold a slot with `error`, at their next step; who waits for one goes on waiting."""
        waiting = {request.token for request in list(self._waiting.values())}
        self._cancellation.cancel_all(error, but=waiting)

    def close(self) -> None:
        """Look at connections and deadlines no more; the slots are closed before."""
        self._cancellation.close()

    @contextmanager
    def _admitting(self, request: Request) -> Iterator[Ticket]:
        """Around the wait for a slot: before it the request gets into the line, after it it is started."""
        ticket = self.slots.enter(self._work(request))
        token = request.token
        self._waiting[ticket] = request
        try:
            self._cancellation.open(token, request.entered_s)
            if token.error is not None:
                raise token.error
            if self._asleep and request.deadline_s is None:
                raise Asleep
            self._check(request)
            token.on_cancel(lambda: self.slots.refuse(ticket, token.error or _cancelled()))
            self._metrics.waiting(self.slots.waiting)
            yield ticket
            self._waiting.pop(ticket, None)
            if token.check():
                raise token.error or _cancelled()
            self._metrics.active(self.slots.held)
            self._start(request, ticket)
            if request.deadline_s is not None:
                self._cancellation.expire(token, request.deadline_s)
        except BaseException as error:
            self.leave(request, ticket)
            if isinstance(error, ImageGenError):
                self._refused(request, error)
            if request.claim_response():  # else it was cancelled in between, and its client knows
                raise
        finally:
            self._waiting.pop(ticket, None)
            self._metrics.waiting(self.slots.waiting)


def _cancelled() -> Cancelled:
    return Cancelled("the client cancelled the request")
