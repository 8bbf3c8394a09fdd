"""Recognises image formats by the first bytes of a file."""

from __future__ import annotations

import re

_SUPPORTED = (
    ("PNG", 0, b"\x89PNG\r\n\x1a\n"),
    ("JPEG", 0, b"\xff\xd8\xff"),
    ("WEBP", 8, b"WEBP"),  # after RIFF and the file's length
)
_OTHER = (
    ("GIF", 0, b"GIF87a"),
    ("GIF", 0, b"GIF89a"),
    ("BMP", 0, b"BM"),
    ("TIFF", 0, b"II*\x00"),
    ("TIFF", 0, b"MM\x00*"),
    ("BigTIFF", 0, b"II+\x00"),
    ("BigTIFF", 0, b"MM\x00+"),
    ("ICO", 0, b"\x00\x00\x01\x00"),
    ("CUR", 0, b"\x00\x00\x02\x00"),
    ("ICNS", 0, b"icns"),
    ("AVIF", 4, b"ftypavi"),
    ("HEIF", 4, b"ftyphei"),
    ("HEIF", 4, b"ftyphev"),
    ("HEIF", 4, b"ftypmif1"),
    ("HEIF", 4, b"ftypmsf1"),
    ("Canon raw", 4, b"ftypcrx "),
    ("MP4 or QuickTime", 4, b"ftyp"),
    ("WebM or Matroska", 0, b"\x1a\x45\xdf\xa3"),
    ("JPEG 2000", 0, b"\x00\x00\x00\x0cjP  "),
    ("JPEG 2000", 0, b"\xff\x4f\xff\x51"),
    ("JPEG XL", 0, b"\x00\x00\x00\x0cJXL "),
    ("JPEG XL", 0, b"\xff\x0a"),
    ("JPEG XR", 0, b"II\xbc\x01"),
    ("MNG", 0, b"\x8aMNG"),
    ("PSD", 0, b"8BPS"),
    ("OpenEXR", 0, b"\x76\x2f\x31\x01"),
    ("Radiance HDR", 0, b"#?RADIANCE"),
    ("DDS", 0, b"DDS "),
    ("QOI", 0, b"qoif"),
    ("PostScript", 0, b"%!PS"),
    ("PDF", 0, b"%PDF-"),
    ("ZIP", 0, b"PK\x03\x04"),
    ("gzip", 0, b"\x1f\x8b"),
)
_PNM = re.compile(rb"P[1-7][ \t\r\n]")
# Text may begin with a byte order mark and white space.
_TEXT = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]{0,1000}<(\?xml|!doctype svg|svg|!doctype html|html)\b", re.IGNORECASE)
_TEXT_NAMES = {b"?xml": "XML", b"svg": "SVG", b"!doctype svg": "SVG", b"html": "HTML", b"!doctype html": "HTML"}


def supported_format(data: bytes) -> str | None:
    """The format of `data` when it is PNG, JPEG or WEBP, else None."""
    name = _match(data, _SUPPORTED)
    return None if name == "WEBP" and not data.startswith(b"RIFF") else name


def other_format(data: bytes) -> str | None:
    """The name of a well-known format that is never accepted, or None. Only for a message that helps."""
    if (text := _TEXT.match(data)) is not None:
        return _TEXT_NAMES[text[1].lower()]
    return "PNM" if _PNM.match(data) else _match(data, _OTHER)


def _match(data: bytes, table: tuple[tuple[str, int, bytes], ...]) -> str | None:
    return next((name for name, offset, magic in table if data.startswith(magic, offset)), None)
