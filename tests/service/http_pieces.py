"""HTTP by hand over plain sockets: what no client library would send, sent in pieces, and cut off."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any
from urllib.parse import urlsplit

BOUNDARY = "----boundary"


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = socket.create_connection((parts.hostname, parts.port or 80), timeout=120)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def reset(connection: socket.socket) -> None:
    """Close with a TCP reset, as a killed client's machine may."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def head(path: str, content_type: str | None, length: int, *others: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: here", f"Content-Length: {length}", *others]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def json_request(path: str, fields: dict[str, Any]) -> bytes:
    body = json.dumps(fields).encode()
    return head(path, "application/json", len(body)) + body


def form(parts: list[tuple[str, bytes]]) -> bytes:
    """A multipart body; images and masks are files."""
    body = b""
    for name, data in parts:
        file = '; filename="x.png"' if name in ("image", "image[]", "mask") else ""
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


def form_request(path: str, parts: list[tuple[str, bytes]]) -> bytes:
    body = form(parts)
    return head(path, f"multipart/form-data; boundary={BOUNDARY}", len(body)) + body


def read_response(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the response; of one without a length, what came with the head."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(connection)
    text, _, body = received.partition(b"\r\n\r\n")
    first, *lines = text.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += _more(connection)
    return int(first.split()[1]), headers, body


def _more(connection: socket.socket) -> bytes:
    received = connection.recv(65536)
    if not received:
        raise ConnectionError("the server closed the connection")
    return received
