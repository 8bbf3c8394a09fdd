"""Sends a trace to a server, open or closed loop, and notes when each answer came."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from imagegen_client import GenerateResult, ImageGenerationError
from perf.traces import Planned

GUIDANCE_SCALE = 7.5
_LEAD_S = 0.1  # between the decision to start and the trace's time zero
_REQUEST_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Answered:
    """One request and its answer.

    Attributes:
        planned: the request.
        started_s: in an open loop when it was due, in a closed one when it was sent; from the start of the load.
        latency_s: from `started_s` to the answer.
        result: the answer; None when there was an error.
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

    def generate(self, *arguments: Any, **named: Any) -> Awaitable[GenerateResult]:
        """The prompt, and by name num_inference_steps, guidance_scale, seed and timeout_s; the image.

        Raises:
            ImageGenerationError: there is none.
        """


async def open_loop(client: Client, trace: Sequence[Planned], notify: Notify) -> list[Answered]:
    """Send every request when it is due, whatever has become of the others.

    A request's latency counts from when it was due, so that neither a busy client nor a busy server can hide a wait.
    """
    zero_s = time.perf_counter() + _LEAD_S

    async def one(planned: Planned) -> Answered:
        await asyncio.sleep(max(0.0, zero_s + planned.due_s - time.perf_counter()))
        return await _send(client, planned, zero_s, planned.due_s, notify)

    return list(await asyncio.gather(*map(one, trace)))


async def closed_loop(client: Client, shares: Sequence[Sequence[Planned]], notify: Notify) -> list[Answered]:
    """Let as many clients as there are shares send all of them, the next request when the one before has been answered.

    They take requests from one line, so that no client is left over at the end with many long ones.
    """
    zero_s = time.perf_counter()
    line = iter([planned for turn in itertools.zip_longest(*shares) for planned in turn if planned is not None])

    async def one_client() -> list[Answered]:
        return [await _send(client, planned, zero_s, time.perf_counter() - zero_s, notify) for planned in line]

    return [one for answered in await asyncio.gather(*(one_client() for _ in shares)) for one in answered]


async def _send(client: Client, planned: Planned, zero_s: float, started_s: float, notify: Notify) -> Answered:
    result, error = None, ""
    try:
        result = await client.generate(
            planned.prompt,
            num_inference_steps=planned.num_inference_steps,
            guidance_scale=GUIDANCE_SCALE,
            seed=planned.seed,
            timeout_s=_REQUEST_TIMEOUT_S,
        )
    except ImageGenerationError as failure:
        error = str(failure)
    latency_s = time.perf_counter() - zero_s - started_s
    notify()
    return Answered(planned, started_s, latency_s, result, error)
