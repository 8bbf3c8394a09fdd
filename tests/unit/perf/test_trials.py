"""A trial's requests become records, and every result is checked."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from typing import Any

from PIL import Image

from imagegen_client import GenerateResult, Unavailable
from perf.result_check import ResultCheck
from perf.traces import Planned, with_adapters
from perf.trials import closed_trial, open_trial, run_trials


class Server:
    """Responds at once: with an image of the right size, or with nothing but an error."""

    def __init__(self, error: str = "", size: tuple[int, int] = (64, 64)) -> None:
        self._error, self._size = error, size

    async def generate(self, *, seed: int, **_: Any) -> GenerateResult:
        if self._error:
            raise Unavailable(self._error)
        file = io.BytesIO()
        Image.linear_gradient("L").resize(self._size).save(file, "PNG")
        return GenerateResult((file.getvalue(),), (), (seed,), {})


def test_requests_become_records_in_the_order_of_the_trials() -> None:
    trials = [closed_trial("closed", "b", 0, 2, 3, 1, 64), open_trial("open", "a", 1, 4, 1e6, 1, 64)]
    records = asyncio.run(run_trials(trials, {"a": Server(), "b": Server()}, ResultCheck()))
    assert [(one.scenario, one.server, one.round) for one in records] == [("closed", "b", 0)] * 6 + [
        ("open", "a", 1)
    ] * 4
    assert [one.error for one in records] == [""] * 10


def test_what_is_wrong_is_recorded() -> None:
    trials = [closed_trial("closed", name, 0, 1, 1, 1, 64) for name in ("small", "full")]
    clients = {"small": Server(size=(32, 32)), "full": Server("the queue is full")}
    records = asyncio.run(run_trials(trials, clients, ResultCheck()))
    assert [one.error for one in records] == ["wrong size: 32x32 instead of 64x64", "unavailable: the queue is full"]


def test_a_changed_mix_is_what_is_sent() -> None:
    sent: list[Any] = []

    class Listening(Server):
        async def generate(self, *, seed: int, **values: Any) -> GenerateResult:
            sent.append(values["lora"])
            return await super().generate(seed=seed, **values)

    def change(trace: Sequence[Planned]) -> list[Planned]:
        return with_adapters(trace, ["a", "b"])

    trials = [closed_trial("closed", "a", 0, 1, 2, 1, 64, change), open_trial("open", "a", 0, 3, 1e6, 1, 64, change)]
    asyncio.run(run_trials(trials, {"a": Listening()}, ResultCheck()))
    assert sent[:2] == ["a", "b"]
    assert sorted(sent[2:]) == ["a", "a", "b"]  # all due at once
