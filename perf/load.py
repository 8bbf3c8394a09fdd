"""Sends a trace to a server as an open or a closed loop, and notes when each response came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from imagegen_client import GenerateResult, ImageGenerationError
from perf.traces import Planned

_LEAD_S = 0.1  # between the decision to start and the trace's time zero
_REQUEST_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Completed:
    """One request and its response.

    Attributes:
        planned: the request.
        started_s: in an open loop when it was due, in a closed one when it was sent; from the start of the load.
        latency_s: from `started_s` to the response.
        result: the response; None when there was an error.
        error: the error; empty when there was none.
    """

    planned: Planned
    started_s: float
    latency_s: float
    result: GenerateResult | None
    error: str = ""


Notify = Callable[[], None]


class Client(Protocol):
    """Sends requests to a server, as `AsyncImageClient` does."""

    def generate(self, *arguments: Any, **values: Any) -> Awaitable[GenerateResult]:
        """The images for public tensors by name, and `timeout_s`.

        Raises:
            ImageGenerationError: there are none.
        """


async def open_loop(client: Client, trace: Sequence[Planned], notify: Notify) -> list[Completed]:
    """Send every request when it is due, whatever has become of the others.

    A request's latency counts from when it was due, so that neither a busy client nor a busy server can hide a wait.
    """
    zero_s = time.perf_counter() + _LEAD_S

    async def one(planned: Planned) -> Completed:
        await asyncio.sleep(max(0.0, zero_s + planned.due_s - time.perf_counter()))
        return await _send(client, planned, zero_s, planned.due_s, notify)

    return list(await asyncio.gather(*map(one, trace)))


async def closed_loop(client: Client, trace: Sequence[Planned], clients: int, notify: Notify) -> list[Completed]:
    """Let so many clients send all requests, each the next one when its own has been answered.

    They take requests from one line, so that no client is left over at the end with many long ones.
    """
    zero_s = time.perf_counter()
    line = iter(trace)

    async def one_client() -> list[Completed]:
        return [await _send(client, planned, zero_s, time.perf_counter() - zero_s, notify) for planned in line]

    by_client = await asyncio.gather(*(one_client() for _ in range(clients)))
    return [completed for part in by_client for completed in part]


async def _send(client: Client, planned: Planned, zero_s: float, started_s: float, notify: Notify) -> Completed:
    result, error = None, ""
    try:
        result = await client.generate(**planned.request.values(), timeout_s=_REQUEST_TIMEOUT_S)
    except ImageGenerationError as failure:
        error = str(failure)
    latency_s = time.perf_counter() - zero_s - started_s
    notify()
    return Completed(planned, started_s, latency_s, result, error)
