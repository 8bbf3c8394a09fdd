"""Requests byte by byte, responses as they came, and the routes to try them on."""

from __future__ import annotations

import json
import socket
from typing import Any

from tests.service.http_pieces import connect

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


def refusal(url: str, sent: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    response = exchange(url, sent)
    assert response.headers["content-type"] == "application/json"
    error: dict[str, Any] = json.loads(response.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return response.status, response.headers, error
