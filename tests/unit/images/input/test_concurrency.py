"""No more callers than the limit are in at the same time, and each slot is given back."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from imagegen.images.input.concurrency import ConcurrencyLimiter, LimitReached

TIMEOUT_S = 30


def test_a_caller_above_the_limit_is_refused_until_a_slot_is_free() -> None:
    limiter = ConcurrencyLimiter(2)
    with limiter.slot():
        with limiter.slot():
            assert limiter.active == 2
            with pytest.raises(LimitReached, match="all 2 slots are taken"), limiter.slot():
                pytest.fail("a third caller was let in")
        with limiter.slot():
            assert limiter.active == 2
    assert limiter.active == 0


def test_a_slot_is_given_back_after_a_failure() -> None:
    limiter = ConcurrencyLimiter(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), limiter.slot():
            raise ZeroDivisionError
    assert limiter.active == 0


def test_a_caller_can_wait_for_a_slot() -> None:
    limiter = ConcurrencyLimiter(1)
    waiting = threading.Event()

    def wait() -> int:
        waiting.set()
        with limiter.slot(TIMEOUT_S):
            return limiter.active

    with ThreadPoolExecutor(1) as pool:
        with limiter.slot():
            second = pool.submit(wait)
            assert waiting.wait(TIMEOUT_S)
        assert second.result(TIMEOUT_S) == 1


def test_never_more_than_the_limit() -> None:
    limiter = ConcurrencyLimiter(3)
    together = threading.Barrier(3)  # passes only when three are in

    def work(_: int) -> int:
        with limiter.slot(TIMEOUT_S):
            together.wait(TIMEOUT_S)
            return limiter.active

    with ThreadPoolExecutor(12) as pool:
        assert max(pool.map(work, range(24))) == 3
