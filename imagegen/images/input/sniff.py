"""Recognises image formats by the first bytes of a file."""

from __future__ import annotations

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
    ("AVIF", 4, b"ftypavi"),
    ("HEIF", 4, b"ftyphei"),
    ("HEIF", 4, b"ftypmif1"),
    ("HEIF", 4, b"ftypmsf1"),
    ("JPEG 2000", 0, b"\x00\x00\x00\x0cjP  "),
    ("JPEG 2000", 0, b"\xff\x4f\xff\x51"),
    ("JPEG XL", 0, b"\x00\x00\x00\x0cJXL "),
    ("JPEG XL", 0, b"\xff\x0a"),
    ("PSD", 0, b"8BPS"),
    ("SVG", 0, b"<svg"),
    ("XML", 0, b"<?xml"),
    ("HTML", 0, b"<!DOCTYPE"),
    ("HTML", 0, b"<html"),
    ("PDF", 0, b"%PDF-"),
    ("ZIP", 0, b"PK\x03\x04"),
    ("gzip", 0, b"\x1f\x8b"),
)


def supported_format(data: bytes) -> str | None:
    """The format of `data` when it is PNG, JPEG or WEBP, else None."""
    name = _match(data, _SUPPORTED)
    return None if name == "WEBP" and not data.startswith(b"RIFF") else name


def other_format(data: bytes) -> str | None:
    """The name of a well-known format that is never accepted, or None. Only for a message that helps."""
    return _match(data, _OTHER)


def _match(data: bytes, table: tuple[tuple[str, int, bytes], ...]) -> str | None:
    return next((name for name, offset, magic in table if data.startswith(magic, offset)), None)
