"""How long a fetched body may be kept, by the headers it came with (RFC 9111)."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping

# A quoted value may hold commas: no-cache="Set-Cookie, X".
_DIRECTIVE = re.compile(r'([a-z0-9-]+)(?:\s*=\s*("[^"]*"|[^\s,]*))?', re.IGNORECASE)
_NOT_KEPT = {"no-store", "no-cache", "private"}  # this cache is shared, and never revalidates
_SECONDS = re.compile(r"[0-9]+", re.ASCII)
_MOST_DIGITS = 10


def lifetime_s(headers: Mapping[str, str], longest_s: float) -> float:
    """Seconds for which a body may be used again, 0..`longest_s`; 0 for not at all.

    Args:
        headers: of the response. Cache-Control counts, else Pragma; without an age in it Expires; less Age, the seconds
            a cache on the way has already kept the body. Where none of them says anything, `longest_s` is allowed.
        longest_s: our own limit.
    """
    control = headers.get("Cache-Control", headers.get("Pragma", ""))
    directives = {name.lower(): value.strip('"') for name, value in _DIRECTIVE.findall(control)}
    if _NOT_KEPT & directives.keys():
        return 0.0
    fresh = directives.get("s-maxage", directives.get("max-age"))
    if fresh is not None:
        fresh_s = _seconds(fresh)
    elif "Expires" in headers:
        fresh_s = _date_s(headers["Expires"], 0.0) - _date_s(headers.get("Date", ""), time.time())
    else:
        return longest_s
    return max(0.0, min(longest_s, fresh_s - _seconds(headers.get("Age", ""))))


def _seconds(text: str) -> float:
    """The number in `text`, 0 when it is none: what is malformed counts as stale (RFC 9111, section 4.2.1)."""
    text = text.strip()
    return float(text[:_MOST_DIGITS]) if _SECONDS.fullmatch(text) else 0.0


def _date_s(text: str, otherwise_s: float) -> float:
    """The date in `text` in seconds since 1970, `otherwise_s` when it is none."""
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return otherwise_s
