"""Undoes the content encodings of a response (RFC 9110, section 8.4), each within the limit on bytes."""

from __future__ import annotations

import re
import zlib

from imagegen.images.input.errors import FetchFailed, TooLarge, UnsupportedFormat
from imagegen.images.input.sniff import supported_format

_GZIP, _DEFLATE, _NONE = {"gzip", "x-gzip"}, {"deflate"}, {"identity", ""}
_MOST_ENCODINGS = 3
_MOST_MEMBERS = 10_000  # of a gzip file: writers that work in parallel begin one for every 64 KiB or more
_INPUT_PIECE, _OUTPUT_PIECE = 1 << 14, 1 << 18
_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,40}")
_GZIP_BITS, _ZLIB_BITS, _RAW_BITS = 31, 15, -15  # as zlib.decompressobj has them
_GZIP_MAGIC = b"\x1f\x8b"


def decode_content(body: bytes, header: str, most_bytes: int) -> bytes:
    """The content of a body. Takes memory for a few times `most_bytes` at most, whatever the body holds.

    Args:
        body: as it came.
        header: Content-Encoding, with the encodings in the order in which they were applied.
        most_bytes: how long the content, and each step to it, may be.

    Raises:
        TooLarge: it is longer.
        UnsupportedFormat: an encoding is neither gzip nor deflate, or there are too many.
        FetchFailed: the body is damaged.
    """
    names = [name for part in header.lower().split(",") if (name := part.strip()) not in _NONE]
    if not body or supported_format(body):  # some servers name an encoding and do not apply it
        return body
    if len(names) > _MOST_ENCODINGS:
        raise UnsupportedFormat(f"has {len(names)} content encodings; at most {_MOST_ENCODINGS} are undone")
    for name in reversed(names):
        if name not in _GZIP | _DEFLATE:
            shown = name if _NAME.fullmatch(name) else "that is malformed"
            raise UnsupportedFormat(f"has the content encoding {shown}; accepted ones are identity, gzip and deflate")
        try:
            body = _inflated(body, name in _GZIP, most_bytes)
        except zlib.error:
            raise FetchFailed(f"the {name} encoding of the response is damaged") from None
    return body


def _inflated(body: bytes, is_gzip: bool, most_bytes: int) -> bytes:
    if is_gzip:
        return _members(body, _GZIP_BITS, most_bytes)
    try:
        return _members(body, _ZLIB_BITS, most_bytes)  # which is what deflate means
    except zlib.error:
        return _members(body, _RAW_BITS, most_bytes)  # which is what some servers take it for


def _members(body: bytes, window_bits: int, most_bytes: int) -> bytes:
    """One stream, or of gzip all that follow each other; anything else behind is padding."""
    content = bytearray()
    at = members = 0
    while True:
        inflater = zlib.decompressobj(window_bits)
        piece = b""
        while not inflater.eof:
            if not piece:
                piece = body[at : at + _INPUT_PIECE]
                at += len(piece)
            inflated = inflater.decompress(piece, _OUTPUT_PIECE)
            if not piece and not inflated:
                raise zlib.error("incomplete")
            content += inflated
            if len(content) > most_bytes:
                raise TooLarge(f"is larger than {most_bytes} bytes")
            piece = inflater.unconsumed_tail
        at -= len(inflater.unused_data)
        members += 1
        if window_bits != _GZIP_BITS or body[at : at + 2] != _GZIP_MAGIC:
            return bytes(content)
        if members == _MOST_MEMBERS:
            raise TooLarge(f"has more than {_MOST_MEMBERS} gzip members")
