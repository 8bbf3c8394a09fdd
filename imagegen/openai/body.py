"""The body of an HTTP request: which content types a route takes, and how each is read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import ClientDisconnect, Request

from imagegen.openai.errors import ClientDisconnected, TooLarge, WrongContentType
from imagegen.openai.form import read_form
from imagegen.openai.json_body import parse_object
from imagegen.openai.settings import Settings

JSON = "application/json"
FORM = "multipart/form-data"
_JSON_MARGIN_BYTES = 1_000_000


async def read_fields(request: Request, settings: Settings, *accepted: str) -> tuple[dict[str, Any], bool]:
    """The fields of the body, and whether it was JSON.

    Args:
        request: its body unread.
        settings: limits.
        accepted: JSON, FORM or both.

    Raises:
        ApiError: it is of another type, too large, malformed, too slow, or the client disconnected.
    """
    given = request.headers.get("content-type", "")
    kind, _, parameters = given.partition(";")
    kind = kind.strip().lower()
    if kind not in accepted:
        problem = f"Content-Type: {kind or 'none'!r}; this route takes {' or '.join(accepted)}"
        raise WrongContentType(problem, "Accept-Post", ", ".join(accepted))
    if kind == JSON and (charset := _charset(parameters)) not in ("", "utf-8", "utf8"):
        raise WrongContentType(f"Content-Type: charset {charset!r}; JSON is UTF-8", "Accept-Post", JSON)
    for header, neutral in (("Content-Encoding", "identity"), ("Transfer-Encoding", "chunked")):
        for coding in ",".join(request.headers.getlist(header)).split(","):
            if coding.strip().lower() not in ("", neutral):
                problem = f"{header}: {coding.strip()!r}; bodies are taken as they are, not compressed"
                raise WrongContentType(problem, "Accept-Encoding", "identity")  # RFC 9110, 12.5.3
    if kind == FORM:
        return await read_form(given, _pieces(request), settings.max_image_bytes), False
    # An image in base64 and the rest; several large ones belong in a form, which is read piece by piece.
    most_bytes = min(settings.max_body_bytes, settings.max_image_bytes * 4 // 3 + _JSON_MARGIN_BYTES)
    body = bytearray()
    async for piece in _pieces(request):
        body += piece
        if len(body) > most_bytes:
            raise TooLarge(f"the JSON body is larger than {most_bytes} bytes; send large images as multipart/form-data")
    return parse_object(bytes(body)), True


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        raise ClientDisconnected from None


def _charset(parameters: str) -> str:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return ""
