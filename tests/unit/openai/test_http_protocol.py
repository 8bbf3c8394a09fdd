"""HTTP as RFC 9110 and 9112 have it, byte by byte over plain sockets, against the frontend as it is served."""

from __future__ import annotations

import json

import pytest

from tests.service.http_pieces import connect
from tests.unit.openai.http_exchange import (
    BODY,
    GENERATIONS,
    GET_ROUTES,
    Response,
    closes,
    exchange,
    generation,
    refusal,
    request,
)
from tests.unit.openai.running_frontend import JudgingTriton

UPGRADES = {
    "h2c": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
    "websocket": (
        "Connection: keep-alive, Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ),
    "TLS": ("Upgrade: TLS/1.2", "connection: upgrade"),
    "several": ("Connection: upgrade", "Upgrade: HTTP/2.0, SHTTP/1.3, IRC/6.9, RTA/x11"),
    "no connection": ("Upgrade: h2c",),
}


@pytest.mark.parametrize("pieces", [1, 2, 10_000], ids=["whole", "halves", "bytes"])
@pytest.mark.parametrize("offer", UPGRADES)
def test_an_offer_to_upgrade_is_as_if_it_were_absent(url: str, triton: JudgingTriton, offer: str, pieces: int) -> None:
    """A parser that takes the offer for a change of protocol hands on what follows, and the body is lost."""
    body = json.dumps({"prompt": f"{offer} in {pieces}"}).encode()
    sent = generation(*UPGRADES[offer], body=body)
    step = -(-len(sent) // pieces)
    with connect(url) as connection:
        for start in range(0, len(sent), step):
            connection.sendall(sent[start : start + step])
        assert Response(connection).status == 200
        assert triton.requests[-1].prompt == f"{offer} in {pieces}"
        connection.sendall(generation())  # the connection goes on
        assert Response(connection).status == 200


def test_an_upgrade_with_chunks_and_a_request_behind_it(url: str, triton: JudgingTriton) -> None:
    chunks = b'8\r\n{"prompt\r\n8\r\n": "abc"\r\n1\r\n}\r\n0\r\n\r\n'
    lines = ("Content-Type: application/json", "Transfer-Encoding: chunked", *UPGRADES["h2c"])
    with connect(url) as connection:
        connection.sendall(request("POST", GENERATIONS, *lines, body=chunks) + request("GET", "/health/live"))
        first = Response(connection)
        assert first.status == 200
        assert triton.requests[-1].prompt == "abc"
        assert first.rest.startswith(b"HTTP/1.1 200") or Response(connection).status == 200


@pytest.mark.parametrize("offer", [(), UPGRADES["h2c"]], ids=["plain", "upgrade"])
def test_requests_one_behind_the_other(url: str, triton: JudgingTriton, offer: tuple[str, ...]) -> None:
    with connect(url) as connection:
        prompts = [f"{index} of {len(offer)}" for index in range(3)]
        connection.sendall(b"".join(generation(*offer, body=json.dumps({"prompt": one}).encode()) for one in prompts))
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < 3:
            received += connection.recv(65536)
    assert [one.prompt for one in triton.requests[-3:]] == prompts


@pytest.mark.parametrize("path", GET_ROUTES)
def test_an_upgrade_of_a_get(url: str, path: str) -> None:
    assert exchange(url, request("GET", path, *UPGRADES["h2c"])).status == 200


def test_a_client_that_waits_for_leave_gets_it(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(generation("Expect: 100-Continue")[: -len(BODY)])
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert Response(connection).status == 200


@pytest.mark.parametrize(
    ("kind", "length", "status"),
    [("application/json", 1_000_001, 413), ("text/plain", 10, 415), ("application/json; charset=latin-1", 10, 415)],
)
def test_a_client_whose_body_is_not_wanted_gets_the_final_status_alone(
    url: str, kind: str, length: int, status: int
) -> None:
    """And the connection ends: whether the body follows or another request, nobody can tell."""
    lines = (f"Content-Type: {kind}", f"Content-Length: {length}", "Expect: 100-continue")
    with connect(url) as connection:
        connection.sendall(request("POST", GENERATIONS, *lines))
        response = Response(connection)
        assert (response.status, response.interim, response.headers["connection"]) == (status, None, "close")
        assert closes(connection)


def test_expectations_that_are_none_of_ours_are_ignored(url: str) -> None:
    assert exchange(url, generation("Expect: 200-ok")).interim is None
    response = exchange(url, generation("Expect: 100-continue", version="1.0"))  # RFC 9110, 10.1.1
    assert (response.status, response.interim) == (200, None)


@pytest.mark.parametrize("stream", [False, True])
def test_http_1_0_gets_no_chunks_and_the_end_of_the_connection(url: str, stream: bool) -> None:
    body = json.dumps({"prompt": "x", "stream": stream}).encode()
    with connect(url) as connection:
        connection.sendall(generation("Connection: keep-alive", body=body, version="1.0"))
        response = Response(connection)
        assert closes(connection)
    assert response.status == 200
    assert "transfer-encoding" not in response.headers
    assert response.headers["connection"] == "close"
    if stream:
        assert "content-length" not in response.headers
        assert response.body.startswith(b"event: image_generation.completed\ndata: {")
        assert response.body.endswith(b"}\n\n")
    else:
        assert json.loads(response.body)["data"]


@pytest.mark.parametrize("path", GET_ROUTES)
def test_http_1_0_of_every_get(url: str, path: str) -> None:
    with connect(url) as connection:
        connection.sendall(request("GET", path, version="1.0"))
        response = Response(connection)
        assert closes(connection)
    assert (response.status, response.headers.get("transfer-encoding")) == (200, None)
    assert response.body


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_wants_the_connection_closed(url: str, stream: bool) -> None:
    body = json.dumps({"prompt": "x", "stream": stream}).encode()
    with connect(url) as connection:
        connection.sendall(generation("Connection: Close", body=body))
        response = Response(connection)
        assert (response.status, response.headers["connection"]) == (200, "close")
        assert closes(connection)


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: here\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: here\r\nA: b\x00\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: here\r\n\r\n",
        b"CONNECT here:80 HTTP/1.1\r\nHost: here\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_request_gets_an_error_of_our_shape(url: str, sent: bytes) -> None:
    status, headers, _ = refusal(url, sent)
    assert (status, headers["connection"]) == (400, "close")


@pytest.mark.parametrize("target", ["http://here/v1/models", "http://here/v1/models/", "http://here"])
def test_an_address_as_proxies_write_it(url: str, target: str) -> None:
    assert exchange(url, request("GET", target)).status == 200
