"""How late the event loop is: everything runs on one, so work that blocks it delays all requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from prometheus_client import Histogram

_INTERVAL_S = 0.25


async def measure_loop_lag(
    lag_seconds: Histogram,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Observe for ever by how many seconds the event loop wakes a timer too late.

    Args:
        lag_seconds: the histogram that is told.
        clock: seconds.
        sleep: waits for that many seconds.
    """
    while True:
        due_s = clock() + _INTERVAL_S
        await sleep(_INTERVAL_S)
        lag_seconds.observe(max(0.0, clock() - due_s))
