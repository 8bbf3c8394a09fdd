"""Responses to requests for images: whole ones, streams, errors before and in the middle, and clients that leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from imagegen.openai import sse
from imagegen.openai.concurrency import ConcurrencyLimiter
from imagegen.openai.errors import BadRequest, Busy, ClientDisconnected, Failed, NotAvailable
from imagegen.openai.health import Health
from imagegen.openai.images_request import ImagesRequest, RequestParser
from imagegen.openai.images_response import AppState, ImagesResponse
from imagegen.openai.metrics import FrontendMetrics
from imagegen.openai.served_model import ServedModel
from imagegen.openai.settings import Settings
from imagegen.openai.triton_images import Completed, Event, Preview, Progress, TritonImages
from imagegen.openai.usage import TokenCounter
from imagegen_client import InvalidArgument, ServerUnreachable, Unavailable

DONE = Completed([b"QUJD"], [7], {"model": "a-checkpoint", "size": "32x16", "output_format": "png"})


class ScriptedTriton:
    """Takes one step after the other: sends an event, raises an exception, advances the clock by a number, hangs."""

    def __init__(self, *script: Event | Exception | float | None) -> None:
        self._script = script
        self.now_s = 0.0
        self.cancelled = False

    async def events(self, *_: Any, **__: Any) -> AsyncIterator[Event]:
        try:
            for step in self._script:
                if step is None:
                    await asyncio.Event().wait()
                elif isinstance(step, Exception):
                    raise step
                elif isinstance(step, float):
                    self.now_s += step
                else:
                    yield step
        except asyncio.CancelledError:
            self.cancelled = True
            raise


class CountingTokens:
    def __init__(self) -> None:
        self.asked = 0

    async def count(self, prompt: str) -> int:
        self.asked += 1
        return len(prompt)


class Exchange:
    """One request through `ImagesResponse`, and all that is to be seen of it."""

    def __init__(self, *script: Event | Exception | float | None, **given: Any) -> None:
        settings = Settings()
        self.tokens, self.metrics, self.triton = CountingTokens(), FrontendMetrics(), ScriptedTriton(*script)
        triton = cast(TritonImages, self.triton)
        self.health = Health(triton, settings, self.metrics)
        self.limiter = ConcurrencyLimiter(1)
        tokens = cast(TokenCounter, self.tokens)
        self.state = AppState(triton, self.limiter, tokens, self.health, self.metrics, clock=lambda: self.triton.now_s)
        self.request = RequestParser(settings, ServedModel(None)).generation({"prompt": "x"} | given)
        self.log_context: dict[str, Any] = {}
        self.sent: list[dict[str, Any]] = []
        self.disconnected = asyncio.Event()

    async def read(self) -> ImagesRequest:
        return self.request

    async def receive(self) -> Any:
        await self.disconnected.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def run(self) -> None:
        scope: dict[str, Any] = {"type": "http", "state": {"request_id": "a", "log_context": self.log_context}}
        await asyncio.wait_for(ImagesResponse(self.state, self.read, "key")(scope, self.receive, self.send), 60)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


def test_a_whole_response() -> None:
    exchange = Exchange(Progress(1, 1), DONE)
    asyncio.run(exchange.run())
    body = json.loads(exchange.body)
    assert body["data"] == [{"b64_json": "QUJD", "seed": 7}]
    assert body["usage"]["input_tokens_details"]["text_tokens"] == 1
    assert exchange.health.problem() is None  # an image proves that the server works
    assert b'imagegen_frontend_images_total{route="image_generation"} 1.0' in exchange.metrics.text()


def test_a_stream() -> None:
    preview = Preview(b"UFJF", 0)
    exchange = Exchange(Progress(1, 2), preview, DONE, stream=True, nvext={"annotations": ["progress"]})
    asyncio.run(exchange.run())
    assert [line for line in exchange.body.splitlines() if line.startswith(b"event: ")] == [
        b"event: image_generation.progress",
        b"event: image_generation.partial_image",
        b"event: image_generation.completed",
    ]
    assert not exchange.sent[-1]["more_body"]
    assert b"imagegen_frontend_partial_images_total 1.0" in exchange.metrics.text()


def test_a_stream_without_events_is_kept_alive() -> None:
    """Progress that the client did not ask for shows that there is something to wait for."""
    script = (Progress(0, 0), 10.0, Progress(0, 0), 1.0, Progress(0, 0), 9.0, Progress(0, 0), 2.0, Progress(1, 2), DONE)
    exchange = Exchange(*script, stream=True)
    asyncio.run(exchange.run())
    comments = [message for message in exchange.sent if message.get("body") == sse.COMMENT]
    assert len(comments) == 2  # at 11 s and at 22 s


@pytest.mark.parametrize("stream", [False, True])
def test_the_prompt_of_a_refused_request_is_not_tokenized(stream: bool) -> None:
    """It may have 60 MB: minutes of work, for nothing."""
    exchange = Exchange(InvalidArgument("too many characters", "prompt"), stream=stream)
    with pytest.raises(BadRequest, match="prompt: too many"):
        asyncio.run(exchange.run())
    assert exchange.tokens.asked == 0
    assert exchange.sent == []


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_sends_no_image_has_failed(stream: bool) -> None:
    exchange = Exchange(stream=stream)
    with pytest.raises(Failed):
        asyncio.run(exchange.run())


def test_a_stream_that_fails_in_the_middle_ends_with_an_error_event() -> None:
    exchange = Exchange(Progress(1, 2), Unavailable("shutting down"), stream=True)
    asyncio.run(exchange.run())
    assert b"event: error\n" in exchange.body
    assert exchange.log_context == {"failed_status": 503, "reason": "unavailable: shutting down"}
    assert not exchange.sent[-1]["more_body"]


def test_an_unreachable_server_is_not_ready() -> None:
    exchange = Exchange(ServerUnreachable("connection refused"))
    exchange.health.generated()
    with pytest.raises(NotAvailable):
        asyncio.run(exchange.run())
    assert exchange.health.problem() is not None
    assert "connection refused" in exchange.log_context["reason"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_disconnects_cancels_its_request(stream: bool) -> None:
    exchange = Exchange(Progress(1, 2), None, stream=stream)

    async def run() -> None:
        running = asyncio.create_task(exchange.run())
        await asyncio.sleep(0)
        exchange.disconnected.set()
        with pytest.raises(ClientDisconnected):
            await running

    asyncio.run(run())
    assert exchange.triton.cancelled
    with exchange.limiter.slot("key"):  # the slot is free again
        pass


def test_a_body_is_read_only_once_it_has_a_slot() -> None:
    exchange = Exchange(DONE)

    async def read() -> ImagesRequest:
        raise AssertionError("it was read")

    exchange.read = read  # type: ignore[method-assign]
    with exchange.limiter.slot("key"), pytest.raises(Busy):
        asyncio.run(exchange.run())
    assert exchange.sent == []
