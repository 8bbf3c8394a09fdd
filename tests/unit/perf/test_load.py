"""A closed loop keeps all its clients busy until the line is empty, and sends each request once."""

from __future__ import annotations

import asyncio
from typing import Any

from imagegen_client import GenerateResult
from perf.load import closed_loop
from perf.traces import LONG_STEPS, SHORT_STEPS, Planned


class Server:
    """Answers after as many turns of the event loop as there are steps."""

    def __init__(self) -> None:
        self.active = 0
        self.most_active = 0

    async def generate(self, prompt: str, *, num_inference_steps: int, seed: int, **_: Any) -> GenerateResult:
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        for _turn in range(num_inference_steps):
            await asyncio.sleep(0)
        self.active -= 1
        return GenerateResult((), (), (seed,), {})


def test_every_request_is_sent_once_by_no_more_clients_than_there_are() -> None:
    shares = [
        [Planned(0, 0.0, LONG_STEPS, 0), Planned(2, 0.0, LONG_STEPS, 2)],
        [Planned(1, 0.0, SHORT_STEPS, 1), Planned(3, 0.0, SHORT_STEPS, 3)],
    ]
    server, told = Server(), []
    answered = asyncio.run(closed_loop(server, shares, lambda: told.append(1)))
    assert sorted(one.planned.index for one in answered) == [0, 1, 2, 3]
    assert server.most_active == 2
    assert len(told) == 4


def test_a_client_that_is_free_takes_what_another_has_no_time_for() -> None:
    shares = [[Planned(0, 0.0, LONG_STEPS, 0), Planned(2, 0.0, SHORT_STEPS, 2)], [Planned(1, 0.0, SHORT_STEPS, 1)]]
    answered = asyncio.run(closed_loop(Server(), shares, lambda: None))
    assert [one.planned.index for one in answered] == [0, 1, 2]  # by client
