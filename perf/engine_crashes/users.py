"""Clients that send one request after the other over every interface, and note what became of each."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import itertools
import json
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any

import aiohttp

from imagegen_client import (
    AsyncImageClient,
    DeadlineExceeded,
    GenerateResult,
    ImageGenerationError,
    ServerUnreachable,
    Unavailable,
)
from perf.engine_crashes.outcomes import Outcome, Result
from perf.result_check import ResultCheck, WrongResult
from perf.workload import TEXT_TO_IMAGE, Request, random_request

ENSEMBLE, STREAM, OPENAI = "ensemble", "stream", "OpenAI"
WAYS = (ENSEMBLE, STREAM, OPENAI)

_STEPS = {2: 0.4, 6: 0.4, 20: 0.2}
_AGAIN_S = 0.1  # a client that was told to send again does so a little later
_TIMEOUT_S = 120.0  # longer than any start: a request that takes this long was forgotten


class Users:
    """So many clients for each interface, each with a connection of its own; to be entered as a context.

    Every request is another one, as those of independent clients are.

    Args:
        grpc_url: `host:port` of Triton's gRPC endpoint.
        openai_url: of the frontend.
        dice: decides what they ask for.
        each: clients for each interface.

    Attributes:
        outcomes: of all requests so far, in the order of their responses.
        served_s: when the newest of the requests that have succeeded was sent, by `time.monotonic`; 0 before.
        connections: that the clients of the frontend have made; one each, unless one broke.
    """

    def __init__(self, grpc_url: str, openai_url: str, dice: random.Random, each: int) -> None:
        self._grpc_url = grpc_url
        self._openai_url = openai_url
        self._dice = dice
        self._each = each
        self._numbers = itertools.count()
        self._leaving = False
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._more: dict[str, _Send] = {}
        self.outcomes: list[Outcome] = []
        self.served_s = 0.0
        self.connections = 0

    async def __aenter__(self) -> Users:
        for _ in range(self._each):
            for way, send in (await self._clients()).items():
                self._tasks.append(asyncio.create_task(self._send_on_and_on(way, send)))
        self._more = await self._clients()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving = True
        try:
            await asyncio.gather(*self._tasks)
        finally:
            await self._stack.aclose()

    @property
    def expected_connections(self) -> int:
        """How many the clients of the frontend need: one each, and one for those of `send_each`."""
        return self._each + 1

    async def send_each(self, timeout_ms: int | None = None, size: tuple[int, int] | None = None) -> list[Outcome]:
        """Send one more request by each interface; what became of them, which `outcomes` has not.

        Args:
            timeout_ms: their deadline; None for none.
            size: (width, height) in pixels; None for one of the usual ones.
        """
        sent = (self._outcome(way, send, timeout_ms, size) for way, send in self._more.items())
        return await asyncio.gather(*sent)

    async def _clients(self) -> dict[str, _Send]:
        """A client for each interface."""
        grpc = [await self._stack.enter_async_context(AsyncImageClient(self._grpc_url)) for _ in range(2)]
        made = aiohttp.TraceConfig()

        async def note_connection(*_: object) -> None:
            self.connections += 1

        made.on_connection_create_end.append(note_connection)
        session = aiohttp.ClientSession(trace_configs=[made], timeout=aiohttp.ClientTimeout(_TIMEOUT_S))
        await self._stack.enter_async_context(session)
        return {
            ENSEMBLE: lambda values: grpc[0].generate(**values, timeout_s=_TIMEOUT_S),
            STREAM: lambda values: _by_stream(grpc[1], values),
            OPENAI: lambda values: _by_openai(session, f"{self._openai_url}/v1/images/generations", values),
        }

    async def _send_on_and_on(self, way: str, send: _Send) -> None:
        while not self._leaving:
            outcome = await self._outcome(way, send)
            self.outcomes.append(outcome)
            if outcome.result is Result.SUCCEEDED:
                self.served_s = max(self.served_s, outcome.sent_s)
            else:
                await asyncio.sleep(_AGAIN_S)

    async def _outcome(
        self, way: str, send: _Send, timeout_ms: int | None = None, size: tuple[int, int] | None = None
    ) -> Outcome:
        request = self._request(way, size)
        values = request.values() | ({} if timeout_ms is None else {"timeout_ms": timeout_ms})
        sent_s, said = time.monotonic(), ""
        try:
            result = await send(values)
            kind = Result.SUCCEEDED
        except Exception as error:
            kind, said = result_of(error), f"{type(error).__name__}: {error}"
        answered_s = time.monotonic()
        if kind is Result.SUCCEEDED:
            try:
                ResultCheck().check(request, result.images, result.seeds)
            except WrongResult as error:
                kind, said = Result.OTHER, str(error)
        return Outcome(way, sent_s, answered_s, kind, said, timeout_ms)

    def _request(self, way: str, size: tuple[int, int] | None) -> Request:
        number, usual = next(self._numbers), random_request(self._dice)
        return dataclasses.replace(
            usual,
            size=size or usual.size,
            task=TEXT_TO_IMAGE if way == OPENAI else usual.task,  # there images go by another route
            num_inference_steps=self._dice.choices(list(_STEPS), list(_STEPS.values()))[0],
            seed=self._dice.randrange(2**31),
            prompt=f"{usual.prompt}, {number}",
        )


_Send = Callable[[dict[str, Any]], Awaitable[GenerateResult]]
"""Sends public tensors by name and waits for the images."""


class _Refused(Exception):
    """The frontend's response is an error.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status


def result_of(error: BaseException) -> Result:
    """What a client is told by an error of `imagegen_client`, or of the frontend."""
    if isinstance(error, _Refused):
        return {503: Result.UNAVAILABLE, 408: Result.TOO_LATE}.get(error.status, Result.OTHER)
    if isinstance(error, Unavailable) and not isinstance(error, ServerUnreachable):
        return Result.UNAVAILABLE
    return Result.TOO_LATE if isinstance(error, DeadlineExceeded) else Result.OTHER


async def _by_stream(client: AsyncImageClient, values: dict[str, Any]) -> GenerateResult:
    result = None
    async for event in client.stream(**values, timeout_s=_TIMEOUT_S):
        result = event
    if not isinstance(result, GenerateResult):
        raise ImageGenerationError("the stream ended without images")
    return result


async def _by_openai(session: aiohttp.ClientSession, url: str, values: dict[str, Any]) -> GenerateResult:
    async with session.post(url, json=values) as response:
        if response.status != 200:
            text = await response.text()
            error = json.loads(text)["error"]  # else it is no error of the frontend's
            raise _Refused(response.status, error["message"])
        data: Sequence[dict[str, Any]] = (await response.json())["data"]
    images = tuple(base64.b64decode(image["b64_json"], validate=True) for image in data)
    return GenerateResult(images, (), tuple(int(image["seed"]) for image in data), {})
