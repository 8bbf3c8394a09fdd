"""Whatever bytes come over a connection, it gets a documented status or ends, and the next one is served."""

from __future__ import annotations

import contextlib

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.http_pieces import connect
from tests.unit.openai.http_exchange import GENERATIONS, exchange, request

STATUSES = {100, 200, 204, 206, 400, 401, 404, 405, 408, 413, 415, 431}
EXAMPLES = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

methods = st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "DELETE", "CONNECT", "PRI", "get", ""])
targets = st.sampled_from(
    ["/", "*", GENERATIONS, GENERATIONS + "/", "/v1/models//", "http://here", "here:80", "/%ff", "?", ""]
)
versions = st.sampled_from(["1.1", "1.0", "0.9", "2.0", "x"])
lines = st.sampled_from(
    [
        "Upgrade: h2c\r\nConnection: Upgrade",
        "Upgrade: websocket",
        "Connection: close",
        "Connection: keep-alive",
        "Expect: 100-continue",
        "Content-Length: 15",
        "Content-Length: -1",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Content-Type: application/json",
        "Content-Type: multipart/form-data; boundary=b",
        "Content-Encoding: gzip",
        "Range: bytes=0-1",
        "Origin: https://page.example",
        "Host:",
        " folded",
        "no colon",
    ]
)
bodies = st.sampled_from(
    [b"", b'{"prompt": "x"}', b'f\r\n{"prompt": "x"}\r\n0\r\n\r\n', b"0\r\nA: b\r\n\r\n", b"zz\r\n"]
) | st.binary(max_size=60)
requests = st.builds(
    lambda method, target, given, body, version: request(method, target, *given, body=body, version=version),
    methods,
    targets,
    st.lists(lines, max_size=4),
    bodies,
    versions,
)


LAST = b"\r\n\r\n" + request("GET", "/no/such/route", "Connection: close")
"""Ends the connection, unless what was sent before is still waited for."""


def statuses(url: str, sent: bytes) -> list[int]:
    """Those of all responses until the connection ends, or nothing more comes."""
    received = b""
    with connect(url) as connection:
        connection.sendall(sent + LAST)
        connection.settimeout(0.02)
        with contextlib.suppress(ConnectionResetError, TimeoutError):
            while more := connection.recv(65536):
                received += more
    return [int(head[:3]) for head in received.split(b"HTTP/1.1 ")[1:] if head[:3].isdigit()]


def test_any_requests_one_behind_the_other(url: str) -> None:
    seen: set[int] = set()

    @EXAMPLES
    @given(st.lists(requests, min_size=1, max_size=3).map(b"".join))
    def check(sent: bytes) -> None:
        seen.update(statuses(url, sent))
        assert seen <= STATUSES
        assert exchange(url, request("GET", "/health/live")).status == 200

    check()
    assert seen >= {200, 400, 404, 405}


def test_any_bytes_within_a_request(url: str) -> None:
    seen: set[int] = set()

    @EXAMPLES
    @given(st.binary(max_size=200), requests, st.integers(0, 200))
    def check(noise: bytes, whole: bytes, place: int) -> None:
        seen.update(statuses(url, whole[:place] + noise + whole[place:]))
        assert seen <= STATUSES
        assert exchange(url, request("GET", "/health/live")).status == 200

    check()
    assert seen >= {200, 400, 404}
