"""HTTP responses from bytes, read by hand: what a library would refuse to read is what is looked for."""

from __future__ import annotations

import re

from perf.hostile.case import Response

_STATUS_LINE = re.compile(rb"HTTP/\S+ (\d{3})[^\r\n]*")


class NotHttp(Exception):
    """The bytes are no HTTP response.

    Attributes:
        rest: those bytes, at most 1000.
    """

    def __init__(self, rest: bytes) -> None:
        super().__init__(rest[:80])
        self.rest = rest[:1000]


def parse_responses(data: bytes, *, closed: bool, head_only: bool = False) -> list[Response]:
    """The complete responses that `data` begins with, without those of status 1xx.

    Args:
        data: as it came over one connection.
        closed: whether the server has closed it, which ends a body that has no length.
        head_only: whether bodies are left out, as in responses to HEAD.

    Raises:
        NotHttp: there is something else.
    """
    responses: list[Response] = []
    while data:
        head, found, rest = data.partition(b"\r\n\r\n")
        line = _STATUS_LINE.match(head)
        if not found or line is None:
            if closed or not data.startswith(b"HTTP/"[: len(data)]):
                raise NotHttp(data)
            break
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (header.partition(b":") for header in head.split(b"\r\n")[1:])
        }
        status = int(line[1])
        body = b""
        if status >= 200 and not head_only:
            split = _body(headers, rest, closed)
            if split is None:
                break
            body, rest = split
        data = rest
        if status >= 200:
            responses.append(Response(status, body, headers.get(b"content-type", b"").decode("latin-1")))
    return responses


def _body(headers: dict[bytes, bytes], data: bytes, closed: bool) -> tuple[bytes, bytes] | None:
    """A body and what follows; None while it is incomplete."""
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        return _chunks(data)
    if b"content-length" in headers:
        length = int(headers[b"content-length"])
        return (data[:length], data[length:]) if len(data) >= length else None
    return (data, b"") if closed else None


def _chunks(data: bytes) -> tuple[bytes, bytes] | None:
    body, at = b"", 0
    while (end := data.find(b"\r\n", at)) >= 0:
        length = int(data[at:end].partition(b";")[0], 16)
        at = end + 2 + length + 2
        if at > len(data):
            return None
        if length == 0:
            return body, data[at:]
        body += data[end + 2 : at - 2]
    return None
