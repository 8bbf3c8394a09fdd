"""Ten thousand requests with random work, faults and cancels: each gets exactly one outcome, and it is the right one.

Requests arrive at random, wait for a slot, run images of random length and batch key through the executor, and fail or
are cancelled in every way we know, while forwards run out of memory at random. Afterwards nothing may be left.
"""

from __future__ import annotations

import random
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import greenlet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagegen.api.errors import Cancelled
from imagegen.engine.executor import Executor
from imagegen.engine.generation_job import GenerationJob
from imagegen.engine.scheduler import Limits
from imagegen.engine.slots import Slots
from tests.unit.engine.executor_toys import executor_of

SIMULATIONS, REQUESTS_EACH = 20, 500
MOST_ROWS_OF_A_FINE_CALL = 3
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
    batch_key: str
    rows: int
    fault: str = ""

    @property
    def pixels(self) -> int:
        return 64 * self.rows


def output(value: int) -> int:
    return (value * 31 + 7) % MODULUS


@dataclass(eq=False)
class Request:
    """One random request, what may come of it and what came.

    Attributes:
        outcomes: (results, error) of each time it was reported finished.
    """

    number: int
    steps: list[int]  # of each image
    batch_key: str
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
            batch_key=rng.choice("aaab"),
            rows=rng.randint(1, MOST_ROWS_OF_A_FINE_CALL),
            fault=rng.choice(FAULTS) if steps[0] and rng.random() < 0.25 else "",
            fault_step=rng.randrange(max(1, steps[0])),
        )

    def generate(self, index: int, executor: Executor) -> int:
        """An image: each step's call takes the output of the one before."""
        value = self.number + index
        for step in range(self.steps[index]):
            fault = self.fault if index == 0 and step == self.fault_step else ""
            if fault == "raises":
                raise KeyError(self.number)
            if fault == "exits":
                raise SystemExit(self.number)
            rows = 10_000 if fault == "needs too much memory" else self.rows
            call = Call(value, self.batch_key, rows, fault)
            try:
                value = executor.call(call)
            except Exception:
                if fault != "swallows errors":
                    raise
                value = executor.call(call)
        return value

    def expected(self) -> list[int]:
        results = []
        for index, steps in enumerate(self.steps):
            value = self.number + index
            for _ in range(steps):
                value = output(value)
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
        self._executor = executor_of(self._forward, limits)
        self._active: dict[Request, GenerationJob] = {}
        self._greenlets: weakref.WeakSet[Any] = weakref.WeakSet()
        self.requests = [Request.random(number, rng) for number in range(requests)]

    def run(self) -> None:
        """To the end, checking on the way."""
        waiting = list(reversed(self.requests))
        while waiting or self._executor.active:
            while waiting and len(self._active) < self._slot_count and self._rng.random() < 0.6:
                self._admit(waiting.pop())
            for request, job in self._active.items():
                if self._rng.random() < 0.01:
                    request.cancelled = True
                    job.token.cancel()
            self._executor.tick()

    def check_the_end(self) -> None:
        """Every request has its outcome and nothing is left of it."""
        for request in self.requests:
            request.check()
        assert self._executor.active == 0
        assert not self._active
        assert not self._executor.tick()
        assert 1 <= self._executor.row_limit <= self._limits.max_batch_rows
        assert (self._slots.held, self._slots.waiting) == (0, 0), "a slot is lost"
        places = [self._slots.enter() for _ in range(self._slot_count + 1)]
        assert [place.done() for place in places] == [True] * self._slot_count + [False], "a slot was made up"
        assert not self._greenlets, "an ended image waits for the garbage collector"

    def _admit(self, request: Request) -> None:
        place = self._slots.enter()

        def generate(index: int) -> int:
            self._greenlets.add(greenlet.getcurrent())
            return request.generate(index, self._executor)

        def finished(results: list[Any] | None, error: BaseException | None) -> None:
            request.outcomes.append((results, error if error is None else error.with_traceback(None)))
            del self._active[request]
            self._slots.leave(place)

        assert place.done(), "there was a free slot"
        job = self._active[request] = GenerationJob(generate, len(request.steps), finished)
        for run in job.runs():
            self._executor.submit(run)

    def _forward(self, calls: Sequence[Call]) -> list[int]:
        rows = sum(call.rows for call in calls)
        assert len({call.batch_key for call in calls}) == 1, "calls of different batch keys were merged"
        if len(calls) > 1:
            assert rows <= self._limits.max_batch_rows
            assert not self._limits.max_batch_pixels or 64 * rows <= self._limits.max_batch_pixels
        if rows > self._rng.choice((MOST_ROWS_OF_A_FINE_CALL, 6, 100, 100, 100, 100)):
            raise MemoryError
        if any(call.fault == "poisons its forward" for call in calls):
            raise ZeroDivisionError
        outputs = [output(call.value) for call in calls]
        lost = len(calls) > 1 and self._rng.random() < 0.01
        return outputs[1:] if lost else outputs


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
