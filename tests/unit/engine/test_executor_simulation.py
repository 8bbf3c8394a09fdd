"""Ten thousand requests with random work, faults and cancels: each gets exactly one outcome, and it is the right one.

Requests arrive at random, wait for a slot, run images of random length and signature through the hub, and fail or
are cancelled in every way we know, while forwards run out of memory at random. Afterwards nothing may be left.
"""

from __future__ import annotations

import random
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import greenlet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagegen.api.errors import Cancelled, DeadlineExceeded
from imagegen.engine.executor import Hub, Limits
from imagegen.engine.generation_job import Order
from imagegen.engine.slots import Slots

SIMULATIONS, REQUESTS_EACH = 20, 500
MOST_ROWS_OF_A_FINE_CALL = 3
LOST_S = 10  # who waits so long for a slot waits for one that is lost
MODULUS = 1_000_003
# What a request's first image does at one of its steps; all others of the request are fine.
FAULTS = ("raises", "exits", "poisons its forward", "needs too much memory", "swallows errors")
ERRORS = {
    "raises": KeyError,
    "exits": SystemExit,
    "poisons its forward": ZeroDivisionError,
    "needs too much memory": MemoryError,
}


@dataclass(frozen=True)
class Call:
    value: int
    signature: str
    rows: int
    fault: str = ""

    @property
    def pixels(self) -> int:
        return 64 * self.rows


def answer(value: int) -> int:
    return (value * 31 + 7) % MODULUS


@dataclass(eq=False)
class Request:
    """One random request, what may come of it and what came.

    Attributes:
        outcomes: (results, error) of each time it was reported finished.
    """

    number: int
    steps: list[int]  # of each image
    signature: str
    rows: int
    fault: str
    fault_step: int
    cancelled: bool = False
    outcomes: list[tuple[list[Any] | None, BaseException | None]] = field(default_factory=list)

    @classmethod
    def random(cls, number: int, rng: random.Random) -> Request:
        steps = [rng.choice((0, 1, 2, 4, 4, 8, 20)) for _ in range(rng.choice((1, 1, 1, 2, 4)))]
        return cls(
            number=number,
            steps=steps,
            signature=rng.choice("aaab"),
            rows=rng.randint(1, MOST_ROWS_OF_A_FINE_CALL),
            fault=rng.choice(FAULTS) if steps[0] and rng.random() < 0.25 else "",
            fault_step=rng.randrange(max(1, steps[0])),
        )

    def draw(self, index: int, hub: Hub) -> int:
        """An image: each step's call takes the answer of the one before."""
        value = self.number + index
        for step in range(self.steps[index]):
            fault = self.fault if index == 0 and step == self.fault_step else ""
            if fault == "raises":
                raise KeyError(self.number)
            if fault == "exits":
                raise SystemExit(self.number)
            rows = 10_000 if fault == "needs too much memory" else self.rows
            call = Call(value, self.signature, rows, fault)
            try:
                value = hub.call(call)
            except Exception:
                if fault != "swallows errors":
                    raise
                value = hub.call(call)
        return value

    def expected(self) -> list[int]:
        results = []
        for index, steps in enumerate(self.steps):
            value = self.number + index
            for _ in range(steps):
                value = answer(value)
            results.append(value)
        return results

    def check(self) -> None:
        """Exactly one outcome, and a possible one."""
        [(results, error)] = self.outcomes
        if error is None:
            assert results == self.expected()
            assert self.fault in ("", "swallows errors"), f"{self} should have failed"
        elif isinstance(error, Cancelled):
            assert self.cancelled, f"{self} was not cancelled"
        else:
            assert type(error) is ERRORS.get(self.fault), f"{self} ended with {error!r}"


class Simulation:
    """A server's life in ticks."""

    def __init__(self, rng: random.Random, requests: int) -> None:
        self._rng = rng
        self._slot_count = rng.randint(1, 12)
        self._slots = Slots(self._slot_count)
        limits = Limits(max_batch_rows=rng.randint(1, 16), max_batch_pixels=rng.choice((0, 128, 512)))
        self._limits = limits
        self._hub = Hub(self._forward, limits)
        self._active: dict[Request, Order] = {}
        self._greenlets: weakref.WeakSet[Any] = weakref.WeakSet()
        self.requests = [Request.random(number, rng) for number in range(requests)]

    def run(self) -> None:
        """To the end, checking on the way."""
        waiting = list(reversed(self.requests))
        while waiting or self._hub.active:
            while waiting and len(self._active) < self._slot_count and self._rng.random() < 0.6:
                self._admit(waiting.pop())
            for request, order in self._active.items():
                if self._rng.random() < 0.01:
                    request.cancelled = True
                    order.cancel()
            self._hub.tick()

    def check_the_end(self) -> None:
        """Every request has its outcome and nothing is left of it."""
        for request in self.requests:
            request.check()
        assert self._hub.active == 0
        assert not self._active
        assert not self._hub.tick()
        assert 1 <= self._hub.row_limit <= self._limits.max_batch_rows
        for _ in range(self._slot_count):  # all slots are free: a lost one would be waited for, in vain
            self._slots.take(is_cancelled=lambda: False, deadline_s=time.monotonic() + LOST_S)
        with pytest.raises(DeadlineExceeded):  # and none was made up
            self._slots.take(is_cancelled=lambda: False, deadline_s=time.monotonic() + 0.1)
        assert not self._greenlets, "an ended image waits for the garbage collector"

    def _admit(self, request: Request) -> None:
        def draw(index: int) -> int:
            self._greenlets.add(greenlet.getcurrent())
            return request.draw(index, self._hub)

        def finished(results: list[Any] | None, error: BaseException | None) -> None:
            request.outcomes.append((results, error if error is None else error.with_traceback(None)))
            del self._active[request]
            self._slots.give_back()

        self._slots.take(is_cancelled=lambda: False, deadline_s=time.monotonic() + LOST_S)
        order = self._active[request] = Order(draw, len(request.steps), finished)
        for image in order.images():
            self._hub.submit(image)

    def _forward(self, calls: Sequence[Call]) -> list[int]:
        rows = sum(call.rows for call in calls)
        assert len({call.signature for call in calls}) == 1, "calls of different signatures were merged"
        if len(calls) > 1:
            assert rows <= self._limits.max_batch_rows
            assert not self._limits.max_batch_pixels or 64 * rows <= self._limits.max_batch_pixels
        if rows > self._rng.choice((MOST_ROWS_OF_A_FINE_CALL, 6, 100, 100, 100, 100)):
            raise MemoryError
        if any(call.fault == "poisons its forward" for call in calls):
            raise ZeroDivisionError
        answers = [answer(call.value) for call in calls]
        lost = len(calls) > 1 and self._rng.random() < 0.01
        return answers[1:] if lost else answers


@pytest.mark.parametrize("seed", range(SIMULATIONS))
def test_every_request_of_a_long_life_gets_its_one_right_outcome(seed: int) -> None:
    simulation = Simulation(random.Random(seed), REQUESTS_EACH)
    simulation.run()
    simulation.check_the_end()
    outcomes = [type(request.outcomes[0][1]) for request in simulation.requests]
    assert {type(None), Cancelled, *ERRORS.values()} <= set(outcomes), "the simulation no longer meets every outcome"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.randoms(use_true_random=False), st.integers(1, 6))
def test_every_request_of_a_short_life_gets_its_one_right_outcome(rng: random.Random, requests: int) -> None:
    """The same with choices that hypothesis makes, and shrinks when one fails."""
    simulation = Simulation(rng, requests)
    simulation.run()
    simulation.check_the_end()
