"""A side does each load that it is told of and says what became of it; its static batches are what servers do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from imagegen_client import Unavailable
from perf.baselines.generate import GenerateRequest
from perf.policy import side
from perf.policy.side import ProcessorClock, StaticBatches, serve
from perf.workload import LONG_STEPS, SHORT_STEPS

LOADS = [
    {"requests": 10, "seed": 1, "side_px": 64, "clients": 3},
    {"requests": 10, "seed": 1, "side_px": 64, "rate_per_s": 1e6},
]
SHORT = [{"requests": 3, "seed": 1, "side_px": 64, "clients": 1, "large_px": px} for px in (0, 512)]


class Client:
    """Refuses the long ones."""

    async def generate(self, *, num_inference_steps: int, **_: Any) -> None:
        if num_inference_steps == LONG_STEPS:
            raise Unavailable("unavailable", "busy")


class Pipeline:
    """In the place of `BaselinePipeline`."""

    def __init__(self, checkpoint: str) -> None:
        self.batches: list[int] = []

    def generate_batch(self, requests: Sequence[GenerateRequest]) -> list[bytes]:
        self.batches.append(len(requests))
        return [request.prompt.encode() for request in requests]


def served(client: Any, loads: Sequence[Any] = LOADS) -> list[Any]:
    lines = [*map(json.dumps, loads), ""]
    said: list[str] = []
    asyncio.run(serve(client, lambda: lines.pop(0), said.append))
    return [json.loads(text) for text in said]


def test_each_load_has_a_row_for_each_request() -> None:
    for rows in served(Client()):
        assert sorted({(steps, bool(error)) for steps, _, _, error in rows}) == [
            (SHORT_STEPS, False),
            (LONG_STEPS, True),
        ]
        assert len(rows) == 10


def test_static_batches_are_of_eight_at_most_and_each_gets_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side, "BaselinePipeline", Pipeline)
    client = StaticBatches("anywhere")
    for rows in served(client):
        assert [error for *_, error in rows] == [""] * 10
    batches = client._pipeline.batches  # type: ignore[attr-defined]
    assert sum(batches) == 20
    assert max(batches) == 8, "all of the open loop came at once"


def test_beside_large_images_all_are_short() -> None:
    class Sizes:
        """Remembers what sizes were asked for."""

        seen: ClassVar[list[str]] = []

        async def generate(self, *, size: str, num_inference_steps: int, **_: Any) -> None:
            assert num_inference_steps == SHORT_STEPS
            self.seen.append(size)
            await asyncio.sleep(0)

    assert [len(rows) for rows in served(Sizes(), SHORT)] == [3, 3]
    assert Sizes.seen.count("64x64") == 6
    assert Sizes.seen.count("512x512") > 1
    assert set(Sizes.seen[:3]) == {"64x64"}


def test_the_clock_skips_what_nobody_needs_and_waits_where_there_is_work() -> None:
    clock = ProcessorClock()
    begun_s = clock.now_s()
    asyncio.run(clock.reach(begun_s + 1000.0, lambda: True))
    assert clock.now_s() >= begun_s + 1000.0
    polls = 0

    def works() -> bool:
        nonlocal polls
        polls += 1
        return polls == 3

    asyncio.run(clock.reach(begun_s + 2000.0, works))
    assert polls == 3
