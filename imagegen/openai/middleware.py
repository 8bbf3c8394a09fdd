"""The outermost layer: ids, clocks and limits of every request, its log line, and errors that nobody else caught."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imagegen.openai import sse
from imagegen.openai.errors import ApiError, ClientDisconnected, Failed, NotAvailable, TooLarge, TooSlow
from imagegen.openai.metrics import FrontendMetrics

_log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_BODIES_AT_ONCE = 8  # of the largest kind
_NO_ROUTE = "none"
FILES_PREFIX = "/v1/images/files/"


class RequestMiddleware:
    """ASGI application around another one.

    Sets in the request's state: `request_id`, and `log_context`, a dict whose entries become fields of the log line;
    `failed_status` among them is the status of a response that failed after it had begun.

    Args:
        app: the application inside.
        metrics: counts requests.
        max_body_bytes: most bytes of a body; more ends the reading with TooLarge.
        body_timeout_s: longest time for a body to arrive, else TooSlow.
        clock: seconds, for how long a request took.

    Attributes:
        open_requests: those that have no complete response yet.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: FrontendMetrics,
        max_body_bytes: int,
        body_timeout_s: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._body_timeout_s = body_timeout_s
        self._clock = clock
        self.open_requests = 0
        self._held = _HeldBytes(_BODIES_AT_ONCE * max_body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(scope, receive, send, self._max_body_bytes, self._body_timeout_s, self._held)
        started_s = self._clock()
        self.open_requests += 1
        self._metrics.open.inc()
        try:
            await self._respond(request)
        finally:
            self.open_requests -= 1
            self._metrics.open.dec()
            self._held.count -= request.body_bytes
            self._account(request, self._clock() - started_s)

    async def _respond(self, request: _Request) -> None:
        try:
            await self._app(request.scope, request.receive, request.send)
        except ClientDisconnected:
            request.status = ClientDisconnected.status
        except ApiError as error:
            await request.fail(error)
        except asyncio.CancelledError:  # the time to drain is over
            await request.fail(NotAvailable("shutting down"))
        except Exception as error:
            if isinstance(error.__cause__, ClientDisconnected):  # Starlette's wrapping, once a response has begun
                request.status = ClientDisconnected.status
                return
            _log.exception("request failed", extra={"request_id": request.id})
            await request.fail(Failed())

    def _account(self, request: _Request, seconds: float) -> None:
        status = request.log_context.pop("failed_status", request.status)
        route = getattr(request.scope.get("route"), "path", _NO_ROUTE)
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        fields: dict[str, Any] = {
            "request_id": request.id,
            "method": request.scope["method"],
            "path": request.scope["path"],
            "status": status,
            "milliseconds": round(seconds * 1000, 1),
            "body_bytes": request.body_bytes,
        }
        quiet = status < 400 and route in ("/health/live", "/health/ready", "/metrics")
        _log.log(logging.DEBUG if quiet else logging.INFO, "request", extra=fields | request.log_context)


@dataclass
class _HeldBytes:
    """Bytes of all bodies whose requests are under way; one API key could else fill the memory with uploads."""

    most: int
    count: int = 0


class _Request:
    """One request: `receive` and `send` as the application sees them.

    Attributes:
        id: the client's x-request-id where it is usable, else a new one.
        status: of the response; 499 until one begins, since only a client that disconnected gets none.
        log_context: fields for the log line.
        body_bytes: how much of the body has come.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        max_body_bytes: int,
        body_timeout_s: float,
        held: _HeldBytes,
    ) -> None:
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        self.id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        self.status = ClientDisconnected.status
        self.log_context: dict[str, Any] = {}
        self.body_bytes = 0
        state = {**scope.get("state", {}), "request_id": self.id, "log_context": self.log_context}
        self.scope = {**scope, "state": state, "path": _without_slash(scope["path"])}
        self._receive = receive
        self._send = send
        self._max_body_bytes = max_body_bytes
        self._held = held
        self._deadline_s = asyncio.get_running_loop().time() + body_timeout_s
        declared = headers.get("content-length", "")
        self._declared_bytes = int(declared) if declared.isdecimal() and len(declared) < 20 else 0
        self._waits_for_leave = headers.get("expect", "").lower() == "100-continue"
        self._body_complete = False
        self._started = False
        self._streams = False
        self._ended = False
        self._body_timeout_s = body_timeout_s

    async def receive(self) -> Message:
        if self._body_complete:
            return await self._receive()
        if self._declared_bytes > self._max_body_bytes:
            raise self._too_large()  # before a byte is read: a client that waits for leave to send is spared it
        self._waits_for_leave = False  # the server gives it now
        try:
            async with asyncio.timeout_at(self._deadline_s):
                message = await self._receive()
        except TimeoutError:
            raise TooSlow(f"the body did not arrive within {self._body_timeout_s:g} s") from None
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            self.body_bytes += size
            self._held.count += size
            self._body_complete = not message.get("more_body", False)
            if self.body_bytes > self._max_body_bytes:
                raise self._too_large()
            if self._held.count > self._held.most:
                raise NotAvailable("too many large bodies are being sent; try again later")
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self.id
            self._streams = headers.get("content-type") == sse.CONTENT_TYPE
            # Of a body that is not read nobody knows whether it comes, or another request in its place.
            if self._waits_for_leave or (self.status == TooSlow.status and not self._body_complete):
                headers["connection"] = "close"
        elif message["type"] == "http.response.body":
            self._ended = not message.get("more_body", False)
        await self._send(message)

    async def fail(self, error: ApiError) -> None:
        """Respond with `error`, or end a stream with it, unless the response is complete."""
        if self._started:
            self.status = error.status
            if self._streams and not self._ended:
                await self.send({"type": "http.response.body", "body": sse.event("error", error.body())})
            return
        body = orjson.dumps(error.body())
        headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": error.status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is larger than {self._max_body_bytes} bytes")


def _without_slash(path: str) -> str:
    """The path of the route that is meant: a slash at its end is nothing, but to the key of a file."""
    is_route = path != "/" and not path.startswith(FILES_PREFIX)
    return path.removesuffix("/") if is_route else path
