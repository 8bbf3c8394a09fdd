"""Of many threads that have a reason to respond, one does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from imagegen.engine.response_claim import ResponseClaim, deadline_s


def test_one_of_many_threads_responds() -> None:
    for _ in range(50):
        claim = ResponseClaim()
        with ThreadPoolExecutor(8) as pool:
            taken = [pool.submit(claim.take) for _ in range(8)]
        assert sorted(future.result() for future in taken) == [False] * 7 + [True]


@pytest.mark.parametrize(("timeout_ms", "expected"), [(None, None), (1500, 11.5), (1, 10.001)])
def test_a_deadline_counts_from_the_arrival(timeout_ms: int | None, expected: float | None) -> None:
    assert deadline_s(10.0, timeout_ms) == expected
