"""HTTP as RFC 9110 and 9112 have it, byte by byte over plain sockets, against the frontend as it is served."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.service.http_pieces import connect
from tests.unit.openai.running_frontend import JudgingTriton, running_frontend

GENERATIONS = "/v1/images/generations"
BODY = b'{"prompt": "x"}'
KEY = "users/a/generations/b/0123456789abcdef0123456789abcdef.png"
GET_ROUTES = [
    "/",
    "/v1/models",
    "/v1/models/image_generation",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/openapi.json",
    f"/v1/images/files/{KEY}",
]
POST_ROUTES = [GENERATIONS, "/v1/images/edits", "/v1/images/variations"]


@pytest.fixture(scope="module")
def triton() -> JudgingTriton:
    return JudgingTriton()


@pytest.fixture(scope="module")
def url(triton: JudgingTriton, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("files")
    (folder / KEY).parent.mkdir(parents=True)
    (folder / KEY).write_bytes(b"an image")
    options = ["--files-folder", str(folder), "--cors-origins", "https://page.example", "--max-body-bytes", "1000"]
    with running_frontend(triton, *options) as running:
        yield running


def request(method: str, path: str, *lines: str, body: bytes = b"", version: str = "1.1") -> bytes:
    lines = (f"{method} {path} HTTP/{version}", "Host: here", *lines)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def generation(*lines: str, body: bytes = BODY, version: str = "1.1", kind: str = "application/json") -> bytes:
    return request(
        "POST", GENERATIONS, f"Content-Type: {kind}", f"Content-Length: {len(body)}", *lines, body=body, version=version
    )


class Response:
    """One response, as it came.

    Attributes:
        interim: the status of a 1xx before it.
        body: without chunks; until the connection closed, where nothing else ends it.
    """

    def __init__(self, connection: socket.socket, *, has_body: bool = True) -> None:
        self._connection, self._received = connection, b""
        self.interim: int | None = None
        self._head()
        if self.status < 200:
            self.interim = self.status
            self._head()
        self.body = self._body() if has_body and self.status not in (204, 304) else b""
        self.rest = self._received

    def _head(self) -> None:
        while b"\r\n\r\n" not in self._received:
            self._more()
        text, _, self._received = self._received.partition(b"\r\n\r\n")
        first, *lines = text.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            while not self._received.endswith(b"0\r\n\r\n"):
                self._more()
            body, received = b"", self._received
            while size := int(received[: received.index(b"\r\n")], 16):
                received = received.partition(b"\r\n")[2]
                body, received = body + received[:size], received[size + 2 :]
            self._received = b""
            return body
        length = self.headers.get("content-length")
        while length is None or len(self._received) < int(length):
            if not self._more(end_is_well=length is None):
                break
        size = len(self._received) if length is None else int(length)
        body, self._received = self._received[:size], self._received[size:]
        return body

    def _more(self, *, end_is_well: bool = False) -> bool:
        received = self._connection.recv(65536)
        assert received or end_is_well, "the server closed the connection"
        self._received += received
        return bool(received)


def exchange(url: str, sent: bytes, *, has_body: bool = True) -> Response:
    with connect(url) as connection:
        connection.sendall(sent)
        return Response(connection, has_body=has_body)


def closes(connection: socket.socket) -> bool:
    connection.settimeout(10)
    return connection.recv(1) == b""


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
    [("application/json", 1001, 413), ("text/plain", 10, 415), ("application/json; charset=latin-1", 10, 415)],
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


@pytest.mark.parametrize("path", [*GET_ROUTES, "/no/such/route", "/v1/models/none", "/v1/images/files/none"])
def test_head_is_get_without_the_body(url: str, path: str) -> None:
    with connect(url) as connection:
        connection.sendall(request("HEAD", path))
        head = Response(connection, has_body=False)
        assert head.rest == b""
        connection.sendall(request("GET", path))
        get = Response(connection)
    varying = {"date", "x-request-id", *(["content-length"] if path == "/metrics" else [])}
    assert head.status == get.status
    assert {name: value for name, value in head.headers.items() if name not in varying} == {
        name: value for name, value in get.headers.items() if name not in varying
    }
    assert "content-length" in head.headers


@pytest.mark.parametrize("path", POST_ROUTES)
def test_head_of_what_is_no_get_route(url: str, path: str) -> None:
    response = exchange(url, request("HEAD", path), has_body=False)
    assert (response.status, response.headers["allow"]) == (405, "OPTIONS, POST")


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        *((path, "GET, HEAD, OPTIONS") for path in GET_ROUTES),
        *((path, "OPTIONS, POST") for path in POST_ROUTES),
        ("*", "GET, HEAD, OPTIONS, POST"),
        (GENERATIONS + "/", "OPTIONS, POST"),
    ],
)
def test_options_says_what_is_allowed(url: str, path: str, allow: str) -> None:
    response = exchange(url, request("OPTIONS", path))
    assert (response.status, response.headers["allow"]) == (204, allow)
    assert not {"content-length", "transfer-encoding"} & set(response.headers)


def test_options_of_no_route(url: str) -> None:
    assert exchange(url, request("OPTIONS", "/no/such/route")).status == 404
    assert exchange(url, request("GET", "*")).status == 405


def test_what_a_browser_asks_first_is_answered_as_before(url: str) -> None:
    asks = ("Origin: https://page.example", "Access-Control-Request-Method: POST")
    response = exchange(url, request("OPTIONS", GENERATIONS, *asks))
    assert (response.status, response.headers["access-control-allow-origin"]) == (200, "https://page.example")
    assert exchange(url, request("OPTIONS", GENERATIONS, "Origin: https://evil.example", asks[1])).status == 400


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


@pytest.mark.parametrize("path", [path for path in GET_ROUTES if path not in ("/", f"/v1/images/files/{KEY}")])
def test_a_slash_at_the_end_serves_the_route(url: str, path: str) -> None:
    with_slash, without = exchange(url, request("GET", path + "/")), exchange(url, request("GET", path))
    assert with_slash.status == without.status == 200
    if path != "/metrics":
        assert with_slash.body == without.body
    assert exchange(url, request("GET", path + "/?a=b")).status == 200


def test_a_slash_at_the_end_of_a_post_loses_no_body(url: str, triton: JudgingTriton) -> None:
    sent = generation(body=b'{"prompt": "with a slash"}').replace(b"/generations ", b"/generations/ ")
    assert exchange(url, sent).status == 200
    assert triton.requests[-1].prompt == "with a slash"


def test_the_key_of_a_file_is_taken_as_it_is(url: str) -> None:
    assert exchange(url, request("GET", f"/v1/images/files/{KEY}/")).status == 404
    assert exchange(url, request("GET", "/v1/images/files/")).status == 404
    assert exchange(url, request("GET", "/v1/models//")).status == 404


@pytest.mark.parametrize(
    "kind",
    [
        "application/json; charset=UTF-8",
        'application/json;charset="utf-8"',
        "Application/JSON",
        "APPLICATION/JSON ; Charset = Utf-8",
        "application/json;",
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
def test_json_by_any_of_its_names(url: str, kind: str, mark: bytes) -> None:
    assert exchange(url, generation(kind=kind, body=mark + BODY)).status == 200


def refusal(url: str, sent: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    response = exchange(url, sent)
    assert response.headers["content-type"] == "application/json"
    error: dict[str, Any] = json.loads(response.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return response.status, response.headers, error


@pytest.mark.parametrize("more", [b'"n": 1, "n": 1', b'"nvext": {"seed": 1, "seed": 1}', b'"prompt": "x"'])
def test_json_with_a_key_twice_is_refused(url: str, more: bytes) -> None:
    status, _, error = refusal(url, generation(body=b'{"prompt": "x", ' + more + b"}"))
    assert (status, error["code"]) == (400, "duplicate_field")


@pytest.mark.parametrize("path", POST_ROUTES)
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip", "x-gzip"])
def test_a_compressed_body_is_refused_with_what_is_accepted(url: str, path: str, coding: str) -> None:
    kind = "application/json" if path == GENERATIONS else "multipart/form-data; boundary=b"
    lines = (f"Content-Type: {kind}", "Content-Length: 2", f"Content-Encoding: {coding}")
    status, headers, _ = refusal(url, request("POST", path, *lines, body=b"{}"))
    assert (status, headers["accept-encoding"]) == (415, "identity")  # RFC 9110, 12.5.3 and 15.5.16


@pytest.mark.parametrize("coding", ["", "identity", "Identity"])
def test_a_body_that_says_it_is_not_compressed_is_read(url: str, coding: str) -> None:
    assert exchange(url, generation(f"Content-Encoding: {coding}")).status == 200


def test_a_transfer_coding_that_is_not_understood_is_refused(url: str) -> None:
    lines = ("Content-Type: application/json", "Transfer-Encoding: gzip, chunked")
    assert refusal(url, request("POST", GENERATIONS, *lines, body=b"2\r\n{}\r\n0\r\n\r\n"))[0] == 415


@pytest.mark.parametrize(
    ("path", "kind", "accepted"),
    [
        (GENERATIONS, "text/plain", "application/json"),
        (GENERATIONS, "application/x-www-form-urlencoded", "application/json"),
        ("/v1/images/edits", "text/json", "application/json, multipart/form-data"),
        ("/v1/images/variations", "application/json", "multipart/form-data"),
    ],
)
def test_another_content_type_is_refused_with_what_is_accepted(url: str, path: str, kind: str, accepted: str) -> None:
    lines = (f"Content-Type: {kind}", "Content-Length: 2")
    status, headers, error = refusal(url, request("POST", path, *lines, body=b"{}"))
    assert (status, headers["accept-post"]) == (415, accepted)
    assert all(name in error["message"] for name in accepted.split(", "))


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
