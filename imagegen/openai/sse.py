"""Server-sent events (HTML standard, section 9.2)."""

from __future__ import annotations

from typing import Any

import orjson

CONTENT_TYPE = "text/event-stream; charset=utf-8"
COMMENT = b": \n\n"
"""Nothing, to whoever reads events."""


def event(name: str, data: dict[str, Any]) -> bytes:
    """One event; `data` as one line of JSON, in which `orjson.Fragment` is put as it is."""
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"
