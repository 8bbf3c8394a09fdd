"""A multipart form, parsed while it arrives: each part is bounded, none is written to disk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from imagegen.openai.errors import BadRequest, TooLarge, shown
from imagegen.openai.form_fields import Part, PartName, fields_of

_MAX_PARTS = 64
_MAX_TEXT_BYTES = 256 * 1024  # the longest prompt, in UTF-8, twice


async def read_form(content_type: str, body: AsyncIterator[bytes], max_image_bytes: int) -> dict[str, Any]:
    """The fields by name, as `form_fields.fields_of` has them.

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
        self._parts: list[Part] = []
        self._header_name = self._header_value = b""
        self._headers: dict[bytes, bytes] = {}
        self._name = PartName("", "", None)
        self._has_file_name = False
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
        return fields_of(self._parts)

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
        self._name = PartName.parse(name.decode("utf-8", "replace"))
        self._has_file_name = bool(options.get(b"filename"))
        self._max_bytes = self._max_image_bytes if self._name.is_file else _MAX_TEXT_BYTES

    def _more(self, data: bytes, start: int, end: int) -> None:
        self._data += memoryview(data)[start:end]
        if len(self._data) > self._max_bytes:
            field = shown(str(self._name))
            raise TooLarge(f"{field}: too_large: is larger than {self._max_bytes} bytes", field)

    def _end(self) -> None:
        self._parts.append(Part(self._name, bytes(self._data), self._has_file_name))
        self._data = bytearray()

    def _ended(self) -> None:
        self._complete = True
