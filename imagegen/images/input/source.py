"""Recognises by its content what a client sent as an image: a URL, a data URL, file bytes, or base64.

bytes ─┬─ PNG, JPEG, WEBP magic ──────────────────────────────► Encoded
       ├─ http://  https:// ──────────────────────────────────► Url      (fetch.py turns it into bytes)
       ├─ data:…;base64,  or bare base64 ──────── decoded ────► Encoded  (decode.py turns it into pixels)
       └─ anything else: refused
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass

import pybase64

from imagegen.images.input.errors import ImageError, TooLarge, UnsupportedFormat, UrlNotAllowed
from imagegen.images.input.settings import InputSettings
from imagegen.images.input.sniff import other_format, supported_format

_MAX_URL_BYTES = 8192  # what servers commonly accept of a request line
_MAX_DATA_HEADER_BYTES = 256
_DATA_HEADER = re.compile(rb"data:([^;]*)(?:;.*)?; *base64 *", re.IGNORECASE | re.DOTALL)
_WHITE_SPACE = b" \t\r\n\v\f"
_SCHEME = re.compile(rb"([a-z][a-z0-9+.-]{0,30}):", re.IGNORECASE)
_URL_SAFE_TO_STANDARD = bytes.maketrans(b"-_", b"+/")  # RFC 4648, section 5
# RFC 2397 lets what is special in a URL be percent-encoded: + / = and white space; letters and digits never are.
_ESCAPES = {b"%2B": b"+", b"%2F": b"/", b"%3D": b"=", b"%0A": b"", b"%0D": b"", b"%09": b"", b"%20": b""}
_OTHER_PERCENT = re.compile(rb"%(?!2[BF0]|3D|0[AD9])", re.IGNORECASE)
_MOST_ENCODED_PER_BYTE = 4  # 3 bytes are 4 digits of base64, each percent-encoded in 3
_NOT_A_SOURCE = (
    "is neither an http(s) URL, a data:...;base64, URL, base64 nor the bytes of a file in an accepted format ({})"
)


@dataclass(frozen=True)
class Url:
    """An http or https URL, not yet fetched."""

    address: str


@dataclass(frozen=True)
class Encoded:
    """The bytes of an image file, not yet decoded; their format is still to be checked.

    Attributes:
        data: the file.
        kind: how it came: file, base64, data_url or url.
        declared_type: the media type that it came with, unchecked; empty when there was none.
    """

    data: bytes
    kind: str
    declared_type: str = ""


def parse_source(blob: bytes, settings: InputSettings) -> Url | Encoded:
    """Find out what `blob` is.

    Raises:
        ImageError: it is too large, of a known but unsupported format, of a URL scheme that is not allowed, or unknown.
    """
    if supported_format(blob):
        _check_bytes(len(blob), settings)
        return Encoded(blob, "file")
    if other := other_format(blob):
        raise UnsupportedFormat(f"is in the {other} format; accepted formats are {', '.join(settings.formats)}")
    text = blob.strip(_WHITE_SPACE)
    match = _SCHEME.match(text)
    if match is None:
        return Encoded(_from_base64(text, settings), "base64")
    scheme = match[1].decode().lower()
    if scheme == "data":
        return _from_data_url(text, settings)
    if scheme not in ("http", "https"):
        raise UrlNotAllowed
    return Url(_checked_url(text))


def _check_bytes(size_bytes: int, settings: InputSettings) -> None:
    if size_bytes > settings.max_image_bytes:
        raise TooLarge(f"is larger than {settings.max_image_bytes} bytes")


def _checked_url(text: bytes) -> str:
    if len(text) > _MAX_URL_BYTES:
        raise TooLarge(f"is a URL of {len(text)} bytes; at most {_MAX_URL_BYTES} are allowed")
    if not text.lower().startswith((b"http://", b"https://")):
        raise ImageError("is a malformed URL; it starts with http:// or https://")
    try:
        url = text.decode("utf-8")
    except UnicodeDecodeError:
        raise ImageError("is a malformed URL; it is not UTF-8") from None
    if not url.isprintable() or " " in url:
        raise ImageError("is a malformed URL; it contains white space or control characters")
    return url


def _from_data_url(text: bytes, settings: InputSettings) -> Encoded:
    """A data URL of any type, since its content tells what it is (RFC 2397)."""
    header_end = text.find(b",", 0, _MAX_DATA_HEADER_BYTES)
    match = _DATA_HEADER.fullmatch(text[: max(header_end, 0)])
    if match is None:
        raise ImageError("is a malformed data URL; it starts with data:...;base64,")
    payload = text[header_end + 1 :]
    if b"%" in payload:
        payload = _without_escapes(payload, settings)
    return Encoded(_from_base64(payload, settings), "data_url", match[1].decode("latin-1"))


def _without_escapes(payload: bytes, settings: InputSettings) -> bytes:
    """Undo percent-encoding with a few copies of the payload: a general decoder would make an object of each `%`."""
    most_bytes = _MOST_ENCODED_PER_BYTE * (settings.max_image_bytes + 2)  # base64 pads up to 2 bytes
    if len(payload) > most_bytes:
        raise TooLarge(f"is larger than {settings.max_image_bytes} bytes")
    if _OTHER_PERCENT.search(payload):
        raise ImageError("is a malformed data URL; only + / = and white space are percent-encoded in its base64")
    for escape, character in _ESCAPES.items():
        payload = payload.replace(escape, character).replace(escape.lower(), character)
    return payload


def _from_base64(text: bytes, settings: InputSettings) -> bytes:
    digits = text.translate(_URL_SAFE_TO_STANDARD, _WHITE_SPACE).rstrip(b"=")
    if not digits:
        raise ImageError("is empty")
    _check_bytes(len(digits) * 3 // 4, settings)
    try:
        decoded: bytes = pybase64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ImageError(_NOT_A_SOURCE.format(", ".join(settings.formats))) from None
    return decoded
