"""How long a fetched body may be kept, by the headers it came with (RFC 9111)."""

from __future__ import annotations

import re

# A quoted value may hold commas: no-cache="Set-Cookie, X".
_DIRECTIVE = re.compile(r'([a-z0-9-]+)(?:\s*=\s*("[^"]*"|[^\s,]*))?', re.IGNORECASE)
_NOT_KEPT = {"no-store", "no-cache", "private"}  # this cache is shared, and asks no server whether a body still holds
_SECONDS = re.compile(r"[0-9]+", re.ASCII)
_MOST_DIGITS = 10


def lifetime_s(cache_control: str, age: str, longest_s: float) -> float:
    """Seconds for which a body may be used again, 0..`longest_s`; 0 for not at all.

    Args:
        cache_control: the header Cache-Control; empty when there was none, which allows `longest_s`.
        age: the header Age, the seconds a cache on the way has already kept the body.
        longest_s: our own limit.
    """
    directives = {name.lower(): value.strip('"') for name, value in _DIRECTIVE.findall(cache_control)}
    if _NOT_KEPT & directives.keys():
        return 0.0
    fresh = directives.get("s-maxage", directives.get("max-age"))
    if fresh is None:
        return longest_s
    return max(0.0, min(longest_s, _seconds(fresh) - _seconds(age)))


def _seconds(text: str) -> float:
    """The number in `text`, 0 when it is none: what is malformed counts as stale (RFC 9111, section 4.2.1)."""
    text = text.strip()
    return float(text[:_MOST_DIGITS]) if _SECONDS.fullmatch(text) else 0.0
