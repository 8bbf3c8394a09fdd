"""Slots of each API key."""

from __future__ import annotations

import pytest

from imagegen.openai.concurrency import ConcurrencyLimiter
from imagegen.openai.errors import Busy


def test_slots_are_bounded_by_key_and_given_back() -> None:
    limiter = ConcurrencyLimiter(2)
    with limiter.slot("a"), limiter.slot("a"), limiter.slot("b"), pytest.raises(Busy, match="its limit"):
        limiter.slot("a").__enter__()
    with pytest.raises(RuntimeError), limiter.slot("a"):
        raise RuntimeError
    with limiter.slot("a"), limiter.slot("a"):
        pass
    assert not limiter._taken  # nothing is kept of keys that have no request under way


def test_zero_is_no_bound() -> None:
    limiter = ConcurrencyLimiter(0)
    with limiter.slot("a"), limiter.slot("a"):
        assert limiter._taken["a"] == 2
