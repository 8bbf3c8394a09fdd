"""Whether the media type that an image came with is that of its content, which alone decides how it is read."""

from __future__ import annotations

import re

_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,127}/[a-z0-9!#$&^_.+*-]{1,127}")  # RFC 6838, section 4.2; and image/*
_OF_FORMAT = {
    "PNG": {"image/png", "image/x-png", "image/apng", "image/vnd.mozilla.apng"},
    "JPEG": {"image/jpeg", "image/jpg", "image/pjpeg", "image/jpe", "image/jfif", "image/x-jpeg", "image/mpo"},
    "WEBP": {"image/webp", "image/x-webp"},
}
_OF_ANYTHING = {  # what servers and programs say that do not know better
    "application/octet-stream",
    "application/x-octet-stream",
    "application/binary",
    "application/download",
    "application/x-download",
    "application/force-download",
    "application/unknown",
    "application/x-unknown",
    "binary/octet-stream",
    "unknown/unknown",
    "image/*",
}


def is_wrong_type(declared: str, format_name: str) -> bool:
    """Whether a declared media type is that of something else.

    Args:
        declared: as it came, with parameters or not; empty, or no media type, says nothing.
        format_name: PNG, JPEG or WEBP, as found in the content.
    """
    media_type = shown_type(declared)
    return bool(media_type) and media_type not in _OF_ANYTHING | _OF_FORMAT[format_name]


def shown_type(declared: str) -> str:
    """The media type in what was declared, in lower case and fit to be shown; empty when it is none."""
    media_type = declared.partition(";")[0].strip().lower()
    return media_type if _TYPE.fullmatch(media_type) else ""
