"""HTTP requests as bytes, right as well as wrong ones."""

from __future__ import annotations

from collections.abc import Sequence

GENERATIONS, EDITS, VARIATIONS = (f"/v1/images/{name}" for name in ("generations", "edits", "variations"))
_MODELS = "/v2/models"
UNARY, STREAM, CANCEL, PREPROCESS = (
    f"{_MODELS}/{name}"
    for name in ("image_generation", "image_generation_stream", "image_generation_cancel", "image_preprocess")
)

BOUNDARY = "hostile-boundary"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
JSON_TYPE = "application/json"

Part = tuple[str, str, bytes]
"""Of a form: what follows `form-data` in Content-Disposition, further header lines, content."""


def post(path: str, body: bytes, content_type: str | None = JSON_TYPE, *headers: str) -> bytes:
    """A whole POST request."""
    lines = [f"POST {path} HTTP/1.1", "Host: server", f"Content-Length: {len(body)}", *headers]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def head(method: str, path: str, *headers: str, version: str = "HTTP/1.1") -> bytes:
    """The head of a request."""
    return ("\r\n".join((f"{method} {path} {version}", *headers)) + "\r\n\r\n").encode("latin-1")


def form(parts: Sequence[Part], boundary: str = BOUNDARY) -> bytes:
    """A multipart body."""
    body = b""
    for disposition, headers, content in parts:
        begin = f"--{boundary}\r\nContent-Disposition: form-data{disposition}\r\n{headers}\r\n"
        body += begin.encode("utf-8", "surrogateescape") + content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()


def text_part(name: str, value: str) -> Part:
    """A field of a form."""
    return f'; name="{name}"', "", value.encode()


def file_part(name: str, content: bytes, file_name: str = "image.png", content_type: str = "image/png") -> Part:
    """A file of a form."""
    return f'; name="{name}"; filename="{file_name}"', f"Content-Type: {content_type}\r\n", content
