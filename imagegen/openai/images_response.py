"""The response to a request for images: they are generated while it is sent, for as long as the client is connected."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from imagegen.openai import response_bodies, sse
from imagegen.openai.concurrency import ConcurrencyLimiter
from imagegen.openai.errors import ApiError, ClientDisconnected, Failed, to_api_error
from imagegen.openai.health import Health
from imagegen.openai.images_request import ImagesRequest
from imagegen.openai.metrics import FrontendMetrics
from imagegen.openai.triton_images import Completed, Event, Preview, Progress, TritonImages
from imagegen.openai.usage import TokenCounter
from imagegen_client import ImageGenerationError, ServerUnreachable

_KEEPALIVE_S = 10.0  # proxies give up on a silent connection after 30 to 60
_STREAM_HEADERS = [
    (b"content-type", sse.CONTENT_TYPE.encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
]


@dataclass(frozen=True)
class AppState:
    """The parts of a running frontend that generate images.

    Attributes:
        triton: generates.
        limiter: bounds the requests of each API key.
        tokens: counts the tokens of prompts; None where no tokenizer can be read.
        health: told of each success.
        metrics: counts images.
        clock: seconds.
    """

    triton: TritonImages
    limiter: ConcurrencyLimiter
    tokens: TokenCounter | None
    health: Health
    metrics: FrontendMetrics
    clock: Callable[[], float] = time.monotonic


class ImagesResponse(Response):
    """Generates on being sent. Errors before the first byte are raised; later ones are an event of the stream.

    Args:
        state: what generating needs.
        read: reads the request; only once it has a slot, since its images may be large.
        key: the name of the API key whose slot it takes.
    """

    def __init__(self, state: AppState, read: Callable[[], Awaitable[ImagesRequest]], key: str) -> None:
        super().__init__()
        self._state = state
        self._read = read
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises ApiError."""
        with self._state.limiter.slot(self._key):
            self._request = await self._read()
            await _cancel_on_disconnect(self._respond(scope, send), receive)

    async def _respond(self, scope: Scope, send: Send) -> None:
        request = self._request
        request_id = scope["state"]["request_id"]
        # A stream has progress even if its client does not want it: its head is sent while it still waits in a queue.
        generating = self._state.triton.events(
            request.values, request.partial_images, request_id, progress=request.stream
        )
        async with aclosing(generating) as events:
            if request.stream:
                await self._stream(events, scope, send)
            else:
                await self._whole(events, scope, send)

    async def _whole(self, events: AsyncIterator[Event], scope: Scope, send: Send) -> None:
        done = None
        try:
            async for event in events:
                if isinstance(event, Completed):
                    done = event
        except ImageGenerationError as error:
            raise self._noted(error, scope) from error
        if done is None:
            raise Failed
        self._count(done)
        body = orjson.dumps(response_bodies.images_body(self._request, done, await self._text_tokens()))
        await Response(body, media_type="application/json")(scope, _no_receive, send)

    async def _stream(self, events: AsyncIterator[Event], scope: Scope, send: Send) -> None:
        begun = False
        done = False
        clock = self._state.clock
        sent_s = clock()
        try:
            async for event in events:
                if not begun:  # not before: what is refused at once gets a status of its own
                    await send({"type": "http.response.start", "status": 200, "headers": _STREAM_HEADERS})
                    begun = True
                    await send({"type": "http.response.body", "body": b"", "more_body": True})
                if (named := await self._named(event)) is not None:
                    await send({"type": "http.response.body", "body": sse.event(*named), "more_body": True})
                    sent_s = clock()
                elif clock() - sent_s > _KEEPALIVE_S:
                    await send({"type": "http.response.body", "body": sse.COMMENT, "more_body": True})
                    sent_s = clock()
                done = done or isinstance(event, Completed)
            failure: ApiError | None = None if done else Failed()
        except ImageGenerationError as error:
            failure = self._noted(error, scope)
        if failure is not None:
            if not begun:
                raise failure
            scope["state"]["log_context"]["failed_status"] = failure.status
            await send({"type": "http.response.body", "body": sse.event("error", failure.body()), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _named(self, event: Event) -> tuple[str, dict[str, Any]] | None:
        """The name and the data of the event to send, if any."""
        if isinstance(event, Preview):
            self._state.metrics.partial_images.inc()
            return response_bodies.partial_image_event(self._request, event)
        if isinstance(event, Progress):
            return response_bodies.progress_event(self._request, event) if self._request.progress else None
        self._count(event)
        return response_bodies.completed_event(self._request, event, await self._text_tokens())

    async def _text_tokens(self) -> int | None:
        """Those of the prompt. To be asked when the images are there: a prompt that is refused may have 60 MB."""
        tokens = self._state.tokens
        return await tokens.count(self._request.values["prompt"]) if tokens else None

    def _noted(self, error: ImageGenerationError, scope: Scope) -> ApiError:
        """The error to send; where that does not say why, the log line does."""
        if isinstance(error, ServerUnreachable):
            self._state.health.lost()
        failure = to_api_error(error, self._request.field)
        if failure.status >= Failed.status:
            scope["state"]["log_context"]["reason"] = str(error)
        return failure

    def _count(self, done: Completed) -> None:
        self._state.health.generated()
        self._state.metrics.images.labels(self._request.kind).inc(len(done.images))


async def _cancel_on_disconnect(work: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Do `work`; when the client closes the connection, cancel it.

    Raises:
        ClientDisconnected: the client closed the connection.
    """
    working = asyncio.create_task(work)
    disconnecting = asyncio.create_task(_disconnect(receive))
    try:
        await asyncio.wait((working, disconnecting), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnected
        working.result()
    finally:
        working.cancel()
        disconnecting.cancel()
        await asyncio.gather(working, disconnecting, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _no_receive() -> Any:
    raise AssertionError("the body has been read")
