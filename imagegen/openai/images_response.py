"""The answer to a request for images: drawn while it is being sent, and no longer than somebody waits for it."""

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

from imagegen.openai import responses as answers
from imagegen.openai import sse
from imagegen.openai.concurrency import Places
from imagegen.openai.errors import ApiError, ClientGone, Failed, from_triton
from imagegen.openai.fields import Call
from imagegen.openai.health import Health
from imagegen.openai.metrics import Measures
from imagegen.openai.triton_call import Completed, Event, Preview, Progress, TritonImages
from imagegen.openai.usage import TokenCounter
from imagegen_client.errors import ImageGenerationError, ServerUnreachable


@dataclass(frozen=True)
class Studio:
    """What drawing needs.

    Attributes:
        triton: who draws.
        places: of each key.
        tokens: counts prompts; None where no tokenizer can be read.
        health: told of each success.
        measures: counts images.
    """

    triton: TritonImages
    places: Places
    tokens: TokenCounter | None
    health: Health
    measures: Measures


class Drawing(Response):
    """Draws on being sent. Errors before the first byte are raised; later ones are an event of the stream.

    Args:
        studio: what drawing needs.
        read: reads the request; only once it has a place, since its images may be large.
        key: whose place it takes.
    """

    def __init__(self, studio: Studio, read: Callable[[], Awaitable[Call]], key: str) -> None:
        super().__init__()
        self._studio = studio
        self._read = read
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises ApiError."""
        with self._studio.places.place(self._key):
            self._call = await self._read()
            await _unless_client_leaves(self._answer(scope, send), receive)

    async def _answer(self, scope: Scope, send: Send) -> None:
        call, studio = self._call, self._studio
        # A stream has progress even if its client does not: its head is then sent while it still waits in a queue.
        request_id = scope["state"]["request_id"]
        drawn = studio.triton.events(call.values, call.partial_images, request_id, progress=call.stream)
        async with aclosing(drawn) as events:
            if call.stream:
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
        self._succeeded(done, scope)
        body = orjson.dumps(answers.images_response(self._call, done, await self._text_tokens()))
        await Response(body, media_type="application/json")(scope, _nothing, send)

    async def _stream(self, events: AsyncIterator[Event], scope: Scope, send: Send) -> None:
        begun = False
        done = False
        sent_s = time.monotonic()
        try:
            async for event in events:
                if not begun:  # not before: what is refused at once gets a status of its own
                    await send({"type": "http.response.start", "status": 200, "headers": _STREAM_HEADERS})
                    begun = True
                    await send({"type": "http.response.body", "body": b"", "more_body": True})
                if (named := await self._named(event)) is not None:
                    await send({"type": "http.response.body", "body": sse.event(*named), "more_body": True})
                    sent_s = time.monotonic()
                elif time.monotonic() - sent_s > _SIGN_OF_LIFE_S:
                    await send({"type": "http.response.body", "body": sse.COMMENT, "more_body": True})
                    sent_s = time.monotonic()
                done = done or isinstance(event, Completed)
            failure: ApiError | None = None if done else Failed()
        except ImageGenerationError as error:
            failure = self._noted(error, scope)
        if failure is not None:
            if not begun:
                raise failure
            scope["state"]["facts"]["failed_status"] = failure.status
            await send({"type": "http.response.body", "body": sse.event("error", failure.body()), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _named(self, event: Event) -> tuple[str, dict[str, Any]] | None:
        """The event to send, if any."""
        if isinstance(event, Preview):
            self._studio.measures.partial_images.inc()
            return answers.partial_image_event(self._call, event)
        if isinstance(event, Progress):
            return answers.progress_event(self._call, event) if self._call.progress else None
        self._succeeded(event, None)
        return answers.completed_event(self._call, event, await self._text_tokens())

    async def _text_tokens(self) -> int | None:
        """Those of the prompt. To be asked when the images are there: a prompt that is refused may have 60 MB."""
        return await self._studio.tokens.count(self._call.values["prompt"]) if self._studio.tokens else None

    def _noted(self, error: ImageGenerationError, scope: Scope) -> ApiError:
        """What to answer; where that does not say why, the log line does."""
        if isinstance(error, ServerUnreachable):
            self._studio.health.lost()
        failure = from_triton(error)
        if failure.status >= Failed.status:
            scope["state"]["facts"]["reason"] = str(error)
        return failure

    def _succeeded(self, done: Completed, scope: Scope | None) -> None:
        self._studio.health.drawn()
        self._studio.measures.images.labels(self._call.kind).inc(len(done.images))


_SIGN_OF_LIFE_S = 10.0  # proxies give up on a silent connection after 30 to 60
_STREAM_HEADERS = [
    (b"content-type", sse.CONTENT_TYPE.encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
]


async def _unless_client_leaves(work: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Do `work`; when the client closes the connection, cancel it.

    Raises:
        ClientGone: the client closed the connection.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_disconnect(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _nothing() -> Any:
    raise AssertionError("the body has been read")
