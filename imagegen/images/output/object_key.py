"""The keys under which images lie in the result store."""

from __future__ import annotations

import hashlib
import re
import uuid

_UNSAFE = re.compile(r"(?:[^A-Za-z0-9._-]|\.{2,})+")
_LONGEST = 64
_DIGEST_CHARACTERS = 12


def object_keys(user: str | None, request_id: str, count: int, extension: str) -> list[str]:
    """New keys `users/{user}/generations/{request id}/{uuid}.{extension}` for the images of one request.

    They need no quoting in a URL or a path, and no user or id can lead out of its folder: see `safe_segment`.

    Args:
        user: as the client sent it; None for anonymous.
        request_id: as the client sent it; empty for a random one.
    """
    folder = f"users/{safe_segment(user or 'anonymous')}/generations/{safe_segment(request_id or uuid.uuid4().hex)}"
    return [f"{folder}/{uuid.uuid4().hex}.{extension}" for _ in range(count)]


def safe_segment(text: str) -> str:
    """One segment of a path from any text: 1..77 letters, digits and `._-`, without a dot in front or two in a row.

    What is safe already stays as it is. What has to be changed gets a digest of the original, so that different users
    do not end up in one folder.
    """
    safe = _UNSAFE.sub("_", text).lstrip(".")[:_LONGEST]
    if safe == text and safe:
        return safe
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{safe or '_'}-{digest[:_DIGEST_CHARACTERS]}"
