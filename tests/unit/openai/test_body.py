"""Bodies of HTTP requests: content types, sizes, and clients that leave in the middle."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from imagegen.openai.body import FORM, JSON, read_fields
from imagegen.openai.errors import ClientDisconnected, TooLarge, WrongContentType
from imagegen.openai.settings import Settings

FORM_BODY = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nx\r\n--b--\r\n'


def read(
    body: bytes,
    content_type: str | None,
    *accepted: str,
    encoding: str | None = None,
    complete: bool = True,
    settings: Settings | None = None,
) -> tuple[dict[str, Any], bool]:
    """The body comes in one piece; unless it is `complete`, the client then disconnects."""
    messages: list[Any] = [{"type": "http.request", "body": body, "more_body": not complete}]
    messages.append({"type": "http.disconnect"})

    async def receive() -> Any:
        return messages.pop(0)

    given = {"content-type": content_type, "content-encoding": encoding}
    headers = [(name.encode(), value.encode()) for name, value in given.items() if value is not None]
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)
    return asyncio.run(read_fields(request, settings or Settings(), *(accepted or (JSON, FORM))))


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON ; charset=utf-8", 'application/json; charset="UTF8"']
)
def test_json(content_type: str) -> None:
    assert read(b'{"n": 1}', content_type) == ({"n": 1}, True)


def test_a_form() -> None:
    assert read(FORM_BODY, "multipart/form-data; boundary=b") == ({"prompt": "x"}, False)


@pytest.mark.parametrize(
    ("content_type", "accepted", "encoding", "named"),
    [
        (None, (JSON,), None, "'none'; this route takes application/json"),
        ("text/plain", (JSON, FORM), None, "'text/plain'; this route takes application/json or multipart/form-data"),
        ("multipart/form-data; boundary=b", (JSON,), None, "multipart/form-data"),
        ("application/json; charset=latin-1", (JSON,), None, "charset 'latin-1'; JSON is UTF-8"),
        ("application/json", (JSON,), "gzip", "Content-Encoding: 'gzip'"),
    ],
)
def test_other_types_and_encodings_are_refused(
    content_type: str | None, accepted: tuple[str, ...], encoding: str | None, named: str
) -> None:
    with pytest.raises(WrongContentType) as refused:
        read(b"{}", content_type, *accepted, encoding=encoding)
    assert named in str(refused.value)


def test_json_is_bounded_by_what_an_image_may_have() -> None:
    settings = Settings(max_image_bytes=3)
    longest = b'{"prompt": "x"}'.ljust(1_000_004)
    assert read(longest, JSON, settings=settings)[0] == {"prompt": "x"}
    with pytest.raises(TooLarge, match="larger than 1000004 bytes; send large images as multipart/form-data"):
        read(longest + b" ", JSON, settings=settings)


@pytest.mark.parametrize(("content_type", "begun"), [(JSON, b"{"), ("multipart/form-data; boundary=b", b"--b")])
def test_a_client_that_leaves_in_the_middle(content_type: str, begun: bytes) -> None:
    with pytest.raises(ClientDisconnected):
        read(begun, content_type, complete=False)
