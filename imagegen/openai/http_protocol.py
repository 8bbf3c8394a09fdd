"""One connection of a client: uvicorn's protocol around httptools, with what it lacks of HTTP, and with bounds.

- An offer to upgrade is ignored, as RFC 9110 (7.8) allows; `OPTIONS *` and an absolute address without a path are read.
- HTTP/1.0 gets neither chunks nor `100 Continue`, which came with 1.1.
- A client that stalls has its connection ended: before or within a request's head, and while it does not read.
- What is no request gets an error of OpenAI's shape.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import socket
import struct
import termios
from http import HTTPStatus
from typing import Any

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from imagegen.openai.errors import ApiError, BadRequest, HeadTooLarge, TooSlow

_log = logging.getLogger(__name__)

_MOST_HEAD_BYTES = 64 * 1024  # Apache and nginx take 8 to 32 KiB
_LEAST_BYTES_PER_S = 1000  # that a client has to read; Apache's mod_reqtimeout demands 500 of what it sends
ANY_ROUTE = "/*"
"""The path that stands for the target `*` of OPTIONS."""


class HttpProtocol(HttpToolsProtocol):
    """As uvicorn makes it, for each connection."""

    def connection_made(self, transport: Any) -> None:
        """asyncio's."""
        super().connection_made(transport)
        self._waiting_since_s: float | None = self.loop.time()
        self._unparsed_bytes = 0
        self._in_head = False
        self._unsent_bytes = self._read_bytes = 0
        self._unread_since_s: float | None = None

    def data_received(self, data: bytes) -> None:
        """asyncio's."""
        self._unset_keepalive_if_required()
        if self._waiting_since_s is None and (self.cycle is None or self.cycle.response_complete):
            self._waiting_since_s = self.loop.time()
        self._unparsed_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(BadRequest("this is not an HTTP request", code="invalid_http"))
            return
        if self._unparsed_bytes > _MOST_HEAD_BYTES:
            self._refuse(HeadTooLarge(f"the head of the request is larger than {_MOST_HEAD_BYTES} bytes"))

    def on_message_begin(self) -> None:
        """httptools': a request begins."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """httptools': the head of a request is there."""
        self._unparsed_bytes = 0
        self._in_head = False
        if self.parser.should_upgrade():
            return  # it comes again, without the offer
        self._waiting_since_s = None
        if not self.url.startswith(b"/"):
            self.url = _origin_form(self.url)
        is_old = self.parser.get_http_version() == "1.0"
        if is_old:
            self.expect_100_continue = False
        super().on_headers_complete()
        if is_old:
            _send_until_close(self.cycle)

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools': a field of the head; those behind a body in chunks are nothing to us."""
        if self._in_head:
            super().on_header(name, value)
        else:
            self._unparsed_bytes += len(name) + len(value)

    def on_body(self, body: bytes) -> None:
        """httptools': a piece of the body."""
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """httptools': the request has come."""
        self._unparsed_bytes = 0
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def end_if_stalled(self, now_s: float, timeout_s: float) -> None:
        """End the connection of a client that did not send a head, or did not read, for too long.

        Args:
            now_s: the event loop's time. To be called several times within `timeout_s`.
            timeout_s: the longest time to wait for a head, and between looks at how much the client reads.
        """
        if self._waiting_since_s is not None and now_s - self._waiting_since_s > timeout_s:
            self._waiting_since_s = now_s
            if self._unparsed_bytes and not self.transport.is_closing():
                self._refuse(TooSlow(f"the head of the request did not arrive within {timeout_s:g} s"))
            else:
                self.transport.close()
        unsent_bytes = _unsent_bytes(self.transport)
        self._read_bytes += max(0, self._unsent_bytes - unsent_bytes)
        self._unsent_bytes = unsent_bytes
        if not unsent_bytes:
            self._unread_since_s = None
        elif self._unread_since_s is None:
            self._unread_since_s, self._read_bytes = now_s, 0
        elif (unread_s := now_s - self._unread_since_s) > timeout_s:
            if self._read_bytes < _LEAST_BYTES_PER_S * unread_s:
                _log.info("a client does not read its response", extra={"unsent_bytes": unsent_bytes})
                # Without the kernel's own patience: it would keep megabytes for a quarter of an hour.
                linger = struct.pack("ii", 1, 0)
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.transport.abort()  # `close` would wait for it to read
            self._unread_since_s, self._read_bytes = now_s, 0

    def _feed(self, data: bytes | memoryview) -> None:
        """Let the parser read `data`.

        Its parser, llhttp, takes what follows an offer to upgrade for another protocol, and stops there. So it gets
        the head once more, without the offer, and then goes on.

        Raises:
            httptools.HttpParserError: it is not HTTP.
        """
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                method = self.parser.get_method()
                if method == b"CONNECT":  # that we are no proxy is not what llhttp knows
                    raise httptools.HttpParserError("CONNECT") from None
                lines = [b"%s %s HTTP/%s" % (method, self.url, self.parser.get_http_version().encode())]
                lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
                self.parser.feed_data(b"\r\n".join(lines) + b"\r\n\r\n")
                data = memoryview(data)[upgrade.args[0] :]

    def _refuse(self, error: ApiError) -> None:
        """Respond with `error` and end the connection; a response that is due or under way comes first."""
        cycle = self.cycle
        is_due = cycle is not None and not cycle.response_complete
        if is_due and (self.pipeline or cycle.response_started or not cycle.more_body):
            cycle.keep_alive = False
            return
        _log.info("not a request", extra={"status": error.status, "reason": str(error)})
        body = orjson.dumps(error.body())
        head = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()


def _unsent_bytes(transport: asyncio.WriteTransport) -> int:
    """What the client has not acknowledged yet; 0 as long as the kernel can hold it all.

    The kernel's part counts: it takes more only when a third of its megabytes is free, which would look like a stall.
    """
    waiting_bytes = transport.get_write_buffer_size()
    if waiting_bytes:
        queued = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        waiting_bytes += struct.unpack("i", queued)[0]
    return waiting_bytes


def _origin_form(target: bytes) -> bytes:
    """The path and query of a request's target that is `*` or an absolute address (RFC 9112, 3.2).

    Raises:
        httptools.HttpParserInvalidURLError: it is neither.
    """
    if target == b"*":
        return ANY_ROUTE.encode()
    url = httptools.parse_url(target)
    return (url.path or b"/") + (b"?" + url.query if url.query else b"")


def _send_until_close(cycle: RequestResponseCycle) -> None:
    """Let a response without a length go out as it is: uvicorn puts it into chunks, which HTTP/1.0 does not know."""
    send = cycle.send
    is_open_ended = False

    async def send_as_it_is(message: Any) -> None:
        nonlocal is_open_ended
        if message["type"] == "http.response.start":
            is_open_ended = all(name.lower() != b"content-length" for name, _ in message.get("headers", []))
            if is_open_ended:
                cycle.chunked_encoding = False
        elif is_open_ended:
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    cycle.send = send_as_it_is  # type: ignore[method-assign]
