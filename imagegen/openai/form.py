"""A multipart form, parsed while it arrives: each part is bounded, none is written to disk.

Names are read as OpenAI's clients write them: `image[]` may come several times, `nvext[seed]` is the field seed of
the object nvext; any other name comes once.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from imagegen.openai.errors import BadRequest, TooLarge, shown
from imagegen.openai.json_body import parse_object

_FILES = ("image", "mask")
_MAX_PARTS = 64
_MAX_TEXT_BYTES = 256 * 1024  # the longest prompt, in UTF-8, twice
_NESTED = re.compile(r"nvext\[([a-z_]+)\](\[\])?")


async def read_form(content_type: str, body: AsyncIterator[bytes], max_image_bytes: int) -> dict[str, Any]:
    """The fields by name: `image` a list of bytes, `mask` bytes, `nvext` a dict, all else text.

    Args:
        content_type: the request's header.
        body: its body, in pieces.
        max_image_bytes: most bytes of one image.

    Raises:
        BadRequest: malformed or cut off, or a field comes twice.
        TooLarge: a field or an image is.
    """
    form = _Form(content_type, max_image_bytes)
    async for piece in body:
        form.feed(piece)
    return form.fields()


class _Form:
    def __init__(self, content_type: str, max_image_bytes: int) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise BadRequest("Content-Type: multipart/form-data without a boundary", code="invalid_form")
        self._max_image_bytes = max_image_bytes
        self._parts: list[tuple[str, bytes]] = []
        self._header_name = self._header_value = b""
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._data = bytearray()
        self._complete = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._field,
                    "on_header_value": self._value,
                    "on_header_end": self._header,
                    "on_headers_finished": self._named,
                    "on_part_data": self._more,
                    "on_part_end": self._end,
                    "on_end": self._ended,
                },
            )
        except FormParserError:
            raise BadRequest("Content-Type: the boundary is not usable", code="invalid_form") from None

    def feed(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except FormParserError:
            raise BadRequest("the body is not a well-formed multipart form", code="invalid_form") from None

    def fields(self) -> dict[str, Any]:
        if not self._complete:
            raise BadRequest("the body ends before its last boundary", code="invalid_form")
        fields: dict[str, Any] = {}
        for name, data in self._parts:
            self._put(fields, name, data)
        return fields

    def _put(self, fields: dict[str, Any], name: str, data: bytes) -> None:
        nested = _NESTED.fullmatch(name)
        if name == "image[]":
            if isinstance(fields.setdefault("image", []), list):
                fields["image"].append(data)
                return
            raise _twice("image")
        if nested:
            extension = fields.setdefault("nvext", {})
            if nested[2]:
                extension.setdefault(nested[1], [])
            if isinstance(extension.get(nested[1]), list) and nested[2]:
                extension[nested[1]].append(_text(name, data))
            elif nested[1] in extension:
                raise _twice(name)
            else:
                extension[nested[1]] = _text(name, data)
            return
        if name in fields:
            raise _twice(name)
        if name in _FILES:
            fields[name] = data
        elif name == "nvext":
            fields[name] = parse_object(data)
        else:
            fields[name] = _text(name, data)

    def _begin(self) -> None:
        if len(self._parts) >= _MAX_PARTS:
            raise BadRequest(f"more than {_MAX_PARTS} fields", code="invalid_form")
        self._headers = {}
        self._data = bytearray()

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _named(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name")
        if disposition != b"form-data" or not name:
            raise BadRequest("a part of the form has no name", code="invalid_form")
        self._name = name.decode("utf-8", "replace")
        is_file = self._name in (*_FILES, "image[]")
        self._max_bytes = self._max_image_bytes if is_file else _MAX_TEXT_BYTES

    def _more(self, data: bytes, start: int, end: int) -> None:
        self._data += memoryview(data)[start:end]
        if len(self._data) > self._max_bytes:
            field = shown(self._name.removesuffix("[]"))
            raise TooLarge(f"{field}: too_large: is larger than {self._max_bytes} bytes", field)

    def _end(self) -> None:
        self._parts.append((self._name, bytes(self._data)))
        self._data = bytearray()

    def _ended(self) -> None:
        self._complete = True


def _twice(name: str) -> BadRequest:
    hint = "; several images are image[]" if name == "image" else ""
    return BadRequest(f"{name}: given more than once{hint}", name, code="duplicate_field")


def _text(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"{name}: not valid UTF-8 at byte {error.start}", name) from None
