"""What is asked of a server of real size is measured in the state that the question means, or not at all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from perf.real_sizes import questions

GIB = 2**30


class Serve:
    """A server whose requests become active after some looks at its metrics."""

    ready_s, load_s, peak_bytes = 30.0, 20.0, 5 * GIB

    def __init__(self, active: list[float]) -> None:
        self._active = active

    def metric(self, name: str) -> float:
        assert name == "imagegen_diffusion_active_requests"
        return self._active.pop(0) if len(self._active) > 1 else self._active[0]

    def diffusion(self) -> Any:
        return SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=4 * GIB))


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The naps that were taken instead of waiting."""
    naps: list[float] = []
    monkeypatch.setattr(
        questions, "time", SimpleNamespace(sleep=naps.append, monotonic=lambda: 100.0 + sum(naps)), raising=True
    )
    return naps


def test_a_request_is_awaited_until_it_is_in_a_forward(slept: list[float]) -> None:
    serve: Any = Serve([0, 0, 1])
    questions._wait_until_active(serve)
    assert slept == [0.1, 0.1, 2.0]


def test_what_never_comes_is_an_error_and_nothing_is_measured(slept: list[float]) -> None:
    serve: Any = Serve([2])
    with pytest.raises(TimeoutError, match="2 requests active after 120 s instead of 1"):
        questions._wait_until_active(serve)
    assert 119 < sum(slept) < 122


def test_the_memory_that_stays_is_what_is_resident_after_the_warm_up() -> None:
    serve: Any = Serve([0])
    (_, (peak, numbers)) = questions.start(serve)
    assert peak.met is False
    assert "the memory that stays, resident after the warm-up" in peak.meaning
    assert numbers["rests_bytes"] == 4 * GIB
