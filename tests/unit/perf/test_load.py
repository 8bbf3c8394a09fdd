"""A closed loop keeps all its clients busy until the line is empty, and sends each request once."""

from __future__ import annotations

import asyncio
from typing import Any

from imagegen_client import GenerateResult, Unavailable
from perf.load import closed_loop, open_loop
from perf.traces import Planned, own_request, poisson_trace
from perf.workload import LONG_STEPS, SHORT_STEPS


class Server:
    """Responds after as many turns of the event loop as there are steps; refuses the seeds in `refused`."""

    def __init__(self, refused: tuple[int, ...] = ()) -> None:
        self.refused = refused
        self.active = 0
        self.most_active = 0

    async def generate(self, *, num_inference_steps: int, seed: int, **_: Any) -> GenerateResult:
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        for _turn in range(num_inference_steps):
            await asyncio.sleep(0)
        self.active -= 1
        if seed in self.refused:
            raise Unavailable("the queue is full")
        return GenerateResult((), (), (seed,), {})


def trace(*steps: int) -> list[Planned]:
    return [Planned(0.0, own_request(index, count, index, 64)) for index, count in enumerate(steps)]


def test_every_request_is_sent_once_by_no_more_clients_than_there_are() -> None:
    server = Server()
    notified: list[int] = []
    requests = trace(LONG_STEPS, SHORT_STEPS, LONG_STEPS, SHORT_STEPS)
    completed = asyncio.run(closed_loop(server, requests, 2, lambda: notified.append(1)))
    assert sorted(one.planned.request.seed for one in completed) == [0, 1, 2, 3]
    assert server.most_active == 2
    assert len(notified) == 4


def test_a_client_that_is_free_takes_what_another_has_no_time_for() -> None:
    completed = asyncio.run(closed_loop(Server(), trace(LONG_STEPS, SHORT_STEPS, SHORT_STEPS), 2, lambda: None))
    assert [one.planned.request.seed for one in completed] == [0, 1, 2]  # by client


def test_a_refusal_is_kept_as_an_error() -> None:
    completed = asyncio.run(open_loop(Server(refused=(1,)), trace(SHORT_STEPS, SHORT_STEPS), lambda: None))
    assert [one.error for one in completed] == ["", "unavailable: the queue is full"]


def test_an_open_loop_does_not_wait_for_responses() -> None:
    server = Server()
    asyncio.run(open_loop(server, poisson_trace(20, 1e6, 1, 64), lambda: None))
    assert server.most_active > 2
