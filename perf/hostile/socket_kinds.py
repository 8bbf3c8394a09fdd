"""What a plain connection can carry and no HTTP library sends: broken heads, chunks, lengths; clients that stall."""

from __future__ import annotations

import random
from collections.abc import Iterator

from perf.hostile.case import End, Expected, HttpCase, Way
from perf.hostile.http_bytes import GENERATIONS, UNARY, head, post

_REFUSED_BODY = b'{"prompt":"x","n":0}'
"""Refused by whoever comes to read it, so that nothing here is ever generated."""
_PATHS = {Way.OPENAI: GENERATIONS, Way.HTTP: f"{UNARY}/generate"}
_HOST, _JSON = "Host: server", "Content-Type: application/json"
_LENGTH = f"Content-Length: {len(_REFUSED_BODY)}"
_CHUNKED = "Transfer-Encoding: chunked"
_ONE_CHUNK = b"%x\r\n" % len(_REFUSED_BODY) + _REFUSED_BODY + b"\r\n0\r\n\r\n"


def odd_head(dice: random.Random, way: Way) -> HttpCase:
    """Heads that are odd but have a meaning, so that a response is owed."""
    path = _PATHS[way]
    host_and_body = (_HOST, _JSON, _LENGTH)
    heads = (
        head("POST", path, _JSON, _LENGTH),  # without Host
        head("POST", path, *host_and_body, version="HTTP/1.0"),
        head("POST", f"http://elsewhere{path}", *host_and_body),
        head(
            "POST",
            path,
            *host_and_body,
            "Upgrade: h2c",
            "Connection: Upgrade, HTTP2-Settings",
            "HTTP2-Settings: AAMAAABk",
        ),
        head("POST", path, *host_and_body, "Upgrade: websocket", "Connection: Upgrade"),
        head("POST", path, *host_and_body, "Connection: close"),
        head("POST", path, *host_and_body, "Accept-Encoding: gzip, br", "Range: bytes=0-1", "If-None-Match: *"),
        head("POST", path, *host_and_body, "X-Request-ID: " + "r" * 3000, "Authorization: Basic \xff\xfe"),
        head("POST", path, *host_and_body, "Content-Encoding: " + dice.choice(("gzip", "br", "deflate", "no-such"))),
        head("POST", path, *host_and_body, *(f"X-{number}: x" for number in range(dice.choice((50, 500))))),
        head("POST", path, *host_and_body, "Cookie: " + "c" * 8000, "Authorization: Bearer " + "k" * 8000),
        head("POST", f"{path}?{'q=1&' * 500}", *host_and_body),
    )
    return HttpCase(way, Expected.REFUSED, pieces=(dice.choice(heads), _REFUSED_BODY))


def odd_method(dice: random.Random, way: Way) -> HttpCase:
    """Methods that the route does not have; HEAD's response has no body."""
    method = dice.choice(("GET", "HEAD", "PUT", "DELETE", "TRACE", "PATCH"))
    request = head(method, _PATHS[way], _HOST, "Connection: close")
    return HttpCase(way, Expected.REFUSED, pieces=(request,), head_only=method == "HEAD")


def expects(dice: random.Random, way: Way) -> HttpCase:
    """Bodies that wait for `100 Continue`, or do not."""
    request = head(
        "POST", _PATHS[way], _HOST, _JSON, _LENGTH, f"Expect: {dice.choice(('100-continue', '100-CONTINUE'))}"
    )
    return HttpCase(way, Expected.REFUSED, pieces=(request, _REFUSED_BODY), pause_s=dice.choice((0.0, 0.02)))


def chunks(dice: random.Random, way: Way) -> HttpCase:
    """Right chunks, of odd sizes: one byte each, or thousands of them."""
    body = _REFUSED_BODY + b" " * dice.choice((0, 1000, 20_000))
    size = dice.choice((1, 1, 2, 7, len(body)))
    encoded = b"".join(b"%x\r\n" % len(piece) + piece + b"\r\n" for piece in _cut(body, size)) + b"0\r\n\r\n"
    return HttpCase(way, Expected.REFUSED, pieces=(head("POST", _PATHS[way], _HOST, _JSON, _CHUNKED), encoded))


def no_http(dice: random.Random, way: Way) -> HttpCase:
    """Bytes that are no HTTP: refused, or the connection is closed."""
    path = _PATHS[way]
    body = (_HOST, _JSON, _LENGTH)
    requests = (
        dice.randbytes(dice.randrange(1, 3000)) + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + dice.randbytes(500),  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
        bytes(5000),
        b"GET / HTTP/" + dice.choice((b"9.9", b"1.9", b"-1", b"x", b"1." + b"1" * 500)) + b"\r\nHost: x\r\n\r\n",
        b"GET /" + b"a" * 300_000 + b" HTTP/1.1\r\n\r\n",
        b"GET\r\n\r\n",
        b"get /a b c HTTP/1.1\r\nHost: x\r\n\r\n",
        head("BREW", path, _HOST),
        head("CONNECT", "127.0.0.1:22", _HOST),
        head("GET", "/\xe9\xff", _HOST),
        head("POST", path, *body, "no colon") + _REFUSED_BODY,
        head("POST", path, *body, "na me: x") + _REFUSED_BODY,
        head("POST", path, *body, ": x") + _REFUSED_BODY,
        head("POST", path, *body, "X: a\0b") + _REFUSED_BODY,
        head("POST", path, *body, "X: a\rb") + _REFUSED_BODY,
        head("POST", path, *body, "X: a\r\n folded") + _REFUSED_BODY,
        head("POST", path, *body).replace(b"\r\n", b"\n") + _REFUSED_BODY,
        head("POST", path, *body, "X: " + "a" * 200_000) + _REFUSED_BODY,
        head("POST", path, *body, *(f"X-{number}: x" for number in range(20_000))) + _REFUSED_BODY,
        head(
            "POST",
            path,
            _HOST,
            _JSON,
            dice.choice(("Content-Length: -5", "Content-Length: x", f"Content-Length: {10**30}")),
        ),
        head("POST", path, *body, "Content-Length: 3") + _REFUSED_BODY,
        head("POST", path, *body, _CHUNKED) + _ONE_CHUNK,
        head("POST", path, _HOST, _JSON, f"Transfer-Encoding: {dice.choice(('gzip', 'xchunked', 'chunked, gzip'))}")
        + _ONE_CHUNK,
        head("POST", path, _HOST, _JSON, _CHUNKED)
        + dice.choice(
            (b"zz\r\n", b"-5\r\n", b"f" * 16 + b"\r\n", b"5;" + b"e" * 90_000 + b"\r\n", b"\r\n\r\n", b"0x5\r\n")
        )
        + _ONE_CHUNK,
    )
    return HttpCase(way, Expected.CLOSED, pieces=(dice.choice(requests),), end=End.HALF_CLOSE)


def damaged(dice: random.Random, way: Way) -> HttpCase:
    """A right head with a few bytes damaged by chance."""
    request = bytearray(post(_PATHS[way], _REFUSED_BODY))
    for _ in range(dice.randint(1, 3)):
        request[dice.randrange(len(request) - len(_REFUSED_BODY))] = dice.randrange(256)
    return HttpCase(way, Expected.CLOSED, pieces=(bytes(request),), end=End.HALF_CLOSE)


def pipelined(dice: random.Random, way: Way) -> HttpCase:
    """Several requests at once, of which the last one asks to close."""
    request = post(_PATHS[way], _REFUSED_BODY)
    last = post(_PATHS[way], _REFUSED_BODY, "application/json", "Connection: close")
    before = dice.choice((1, 2, 9))
    if way is Way.HTTP:  # which does not do it, see `statuses.CLOSES`
        return HttpCase(way, Expected.CLOSED, pieces=(request * before + last,))
    return HttpCase(way, Expected.REFUSED, pieces=(request * before + last,), requests=before + 1)


def half(dice: random.Random, way: Way) -> HttpCase:
    """A request that ends somewhere in the middle, and a client that says so, or breaks the connection."""
    request = post(_PATHS[way], _REFUSED_BODY)
    cut = request[: dice.randrange(len(request))]
    if dice.random() < 0.5:
        return HttpCase(way, Expected.CLOSED, pieces=(cut,), end=End.HALF_CLOSE)
    return HttpCase(way, Expected.NOTHING, pieces=(cut,), end=End.RESET, leave_after_s=dice.choice((0.0, 0.05, 0.5)))


def slow(dice: random.Random, way: Way) -> HttpCase:
    """A whole request, but a few bytes at a time."""
    request = post(_PATHS[way], _REFUSED_BODY)
    if way is Way.HTTP and dice.random() < 0.5:  # its parser loses the path, see `statuses.OWN_RESPONSES`
        cut = dice.randrange(1, request.index(b"\r\n"))
        return HttpCase(way, Expected.CLOSED, pieces=(request[:cut], request[cut:]), pause_s=0.01)
    line = request.index(b"\r\n") + 2 if way is Way.HTTP else 0
    pieces = (request[:line], *_cut(request[line:], dice.choice((5, 20))))
    return HttpCase(way, Expected.REFUSED, pieces=pieces, pause_s=0.01)


def stalled(dice: random.Random, timeout_s: float | None) -> HttpCase:
    """A body that never comes in full; the frontend has to end it once its own time for bodies is over.

    Args:
        dice: chooses.
        timeout_s: that time; None where it is not known, so that the client leaves instead.
    """
    request = post(GENERATIONS, _REFUSED_BODY)
    pieces = (request[: -dice.randrange(1, len(_REFUSED_BODY))],)
    if timeout_s is None:
        return HttpCase(Way.OPENAI, Expected.NOTHING, pieces=pieces, end=End.RESET, leave_after_s=0.5)
    return HttpCase(Way.OPENAI, Expected.REFUSED, pieces=pieces)


def _cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))
