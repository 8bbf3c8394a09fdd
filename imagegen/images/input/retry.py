"""When a fetch that failed is worth another attempt, and how long to wait before it."""

from __future__ import annotations

import random

from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

_FIRST_DELAY_S = 0.2
_JITTER = 0.25  # so that clients that failed together do not come back together
_RETRY = Retry()


def is_transient(status: int) -> bool:
    """Whether a status says that the same request may work later: 429 and 5xx."""
    return status == 429 or 500 <= status <= 599


def delay_s(failures: int, retry_after_s: float) -> float:
    """Seconds to wait after so many failures (1 or more): 0.2, 0.4, 0.8, … and up to a quarter more.

    Args:
        failures: attempts that have failed.
        retry_after_s: what the server asked for; the wait is never shorter.
    """
    backoff_s = _FIRST_DELAY_S * float(2 ** (failures - 1))
    return max(retry_after_s, backoff_s * random.uniform(1, 1 + _JITTER))


def parse_retry_after(header: str | None) -> float:
    """Seconds that a header Retry-After asks for, as a number or as a date; 0 when it is missing or malformed.

    At most the six hours that urllib3 allows, which is longer than any fetch waits.
    """
    try:
        return float(_RETRY.parse_retry_after(header)) if header else 0.0
    except (InvalidHeader, ValueError, OverflowError):
        return 0.0
