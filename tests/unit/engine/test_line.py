"""Requests get slots in their order, leave the line at once, and each is told of exactly once."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from typing import Any

import pytest

from imagegen.api.errors import Asleep, Cancelled, DeadlineExceeded, ImageGenError, InvalidArgument, Unavailable
from imagegen.engine.cancellation import CancelToken
from imagegen.engine.line import Line
from imagegen.engine.response_claim import ResponseClaim
from imagegen.engine.slots import Ticket
from tests.unit.tiny_engine import wait_until


class Request:
    """One in line."""

    def __init__(self, name: str, timeout_s: float | None = None) -> None:
        self.name = name
        self.token = CancelToken(frozenset({name}))
        self.entered_s = math.inf
        self.deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        self._claim = ResponseClaim()

    def claim_response(self) -> bool:
        return self._claim.take()


class Owner:
    """Who the line belongs to.

    Attributes:
        started: requests with their tickets, in order.
        refused, left: names.
        counts: of requests that wait and that hold a slot, as they were told last.
    """

    def __init__(self, count: int) -> None:
        self.started: list[tuple[Request, Ticket]] = []
        self.refused: list[tuple[str, str]] = []
        self.left: list[str] = []
        self.counts: dict[str, int] = {}
        self.line: Line[Request] = Line(
            count,
            self,
            check=self.check,
            start=self.start,
            refused=self.refuse,
            left=lambda r: self.left.append(r.name),
        )

    def waiting(self, count: int) -> None:
        self.counts["waiting"] = count

    def active(self, count: int) -> None:
        self.counts["active"] = count

    def check(self, request: Request) -> None:
        if request.name == "bad":
            raise InvalidArgument("size", "too large")

    def start(self, request: Request, ticket: Ticket) -> None:
        if request.name == "broken":
            raise Unavailable("gone")
        self.started.append((request, ticket))

    def refuse(self, request: Request, error: ImageGenError) -> None:
        self.refused.append((request.name, error.code))

    def names(self) -> list[str]:
        return [request.name for request, _ in self.started]


def in_thread(owner: Owner, request: Request) -> tuple[threading.Thread, list[BaseException]]:
    errors: list[BaseException] = []

    def submit() -> None:
        try:
            owner.line.submit(request)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=submit)
    thread.start()
    return thread, errors


def test_slots_are_given_in_order_and_come_back() -> None:
    owner = Owner(1)
    owner.line.submit(Request("a"))
    threads = []
    for count, name in enumerate("bc", 1):
        threads.append(in_thread(owner, Request(name))[0])
        wait_until(lambda count=count: owner.line.slots.waiting == count)  # type: ignore[misc]
    assert owner.names() == ["a"]
    for _ in range(3):
        request, ticket = owner.started[-1]
        count = len(owner.started)
        owner.line.leave(request, ticket)
        owner.line.leave(request, ticket)
        wait_until(lambda count=count: len(owner.started) > count or count == 3)  # type: ignore[misc]
    for thread in threads:
        thread.join(20)
    assert owner.names() == ["a", "b", "c"]
    wait_until(lambda: owner.counts == {"waiting": 0, "active": 0})
    assert owner.refused == []
    owner.line.close()


@pytest.mark.parametrize(("name", "code"), [("bad", "invalid_argument"), ("broken", "unavailable")])
def test_what_is_refused_before_or_at_its_start_gives_its_slot_back(name: str, code: str) -> None:
    owner = Owner(1)
    with pytest.raises(ImageGenError):
        owner.line.submit(Request(name))
    assert (owner.refused, owner.left, owner.line.slots.held) == ([(name, code)], [name], 0)
    owner.line.submit(Request("good"))
    owner.line.close()


def test_who_waits_can_be_cancelled_by_name_and_its_deadline_counts() -> None:
    owner = Owner(1)
    owner.line.submit(Request("a"))
    thread, errors = in_thread(owner, Request("b"))
    wait_until(lambda: owner.line.slots.waiting == 1)
    assert owner.line.cancel("b")
    assert not owner.line.cancel("nobody")
    thread.join(20)
    with pytest.raises(DeadlineExceeded):
        owner.line.submit(Request("c", timeout_s=0.05))
    assert [type(error) for error in errors] == [Cancelled]
    assert owner.refused == [("b", "cancelled"), ("c", "deadline_exceeded")]
    owner.line.close()


def test_a_deadline_that_passes_later_cancels_what_was_started() -> None:
    owner = Owner(1)
    request = Request("a", timeout_s=0.05)
    owner.line.submit(request)
    wait_until(lambda: request.token.cancelled)
    assert isinstance(request.token.error, DeadlineExceeded)
    owner.line.close()


def test_in_asyncio_it_is_the_same() -> None:
    owner = Owner(1)

    async def two() -> Any:
        await owner.line.submit_async(Request("a"))
        waiting = asyncio.create_task(owner.line.submit_async(Request("b")))
        while not owner.line.slots.waiting:
            await asyncio.sleep(0.001)
        owner.line.leave(*owner.started[0])
        await waiting

    asyncio.run(two())
    assert owner.names() == ["a", "b"]
    owner.line.close()


def test_closed_nobody_gets_in() -> None:
    owner = Owner(1)
    owner.line.slots.close()
    with pytest.raises(Unavailable, match="shutting down"):
        owner.line.submit(Request("a"))
    owner.line.close()


def test_asleep_nobody_gets_a_slot_and_who_has_no_deadline_is_refused() -> None:
    owner = Owner(1)
    owner.line.submit(Request("a"))
    held, ticket = owner.started[0]
    first, errors = in_thread(owner, Request("waits for ever"))
    second, none = in_thread(owner, Request("waits", timeout_s=20))
    wait_until(lambda: owner.line.slots.waiting == 2)
    owner.line.sleep()
    first.join(20)
    assert [type(error) for error in errors] == [Asleep]
    owner.line.leave(held, ticket)
    with pytest.raises(Asleep):
        owner.line.submit(Request("b"))
    with pytest.raises(DeadlineExceeded):
        owner.line.submit(Request("c", timeout_s=0.05))
    assert owner.names() == ["a"]
    owner.line.wake()
    owner.line.slots.resume()
    second.join(20)
    assert (owner.names(), none) == (["a", "waits"], [])
    owner.line.close()


def test_a_drain_waits_for_who_holds_a_slot_and_ends_what_takes_too_long() -> None:
    owner = Owner(1)
    assert owner.line.drain(0)
    request = Request("a")
    owner.line.submit(request)
    waiting, errors = in_thread(owner, Request("b", timeout_s=20))
    wait_until(lambda: owner.line.slots.waiting == 1)
    owner.line.slots.pause()
    assert not owner.line.drain(0.02)
    owner.line.end_all(Unavailable("put to sleep"))
    assert isinstance(request.token.error, Unavailable)
    owner.line.leave(*owner.started[0])
    assert owner.line.drain(0)
    owner.line.slots.resume()
    waiting.join(20)
    assert (owner.names(), errors) == (["a", "b"], [])
    owner.line.close()
