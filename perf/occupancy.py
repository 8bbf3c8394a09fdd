"""How full denoiser forwards are over time, from the server's metrics."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

_INTERVAL_S = 0.5  # our models hand their counts over four times a second
_COUNTED = re.compile(
    r"^imagegen_diffusion_(forwards_total|forward_rows_sum|active_requests)(?:\{.*\})? (\S+)$", re.MULTILINE
)


@dataclass(frozen=True)
class Moment:
    """Counts at one moment.

    Attributes:
        at_s: by time.perf_counter.
        forwards: of the denoiser so far.
        rows: of all of them.
        active: requests that are being drawn.
    """

    at_s: float
    forwards: float
    rows: float
    active: float


def read_moment(text: str, at_s: float) -> Moment:
    """From Prometheus' text format."""
    counts = {"forwards_total": 0.0, "forward_rows_sum": 0.0, "active_requests": 0.0}
    for name, value in _COUNTED.findall(text):
        counts[name] += float(value)
    return Moment(at_s, counts["forwards_total"], counts["forward_rows_sum"], counts["active_requests"])


def mean_rows(moments: list[Moment]) -> list[tuple[float, float, float]]:
    """(seconds since the first moment, rows a forward since the moment before, active requests); 0 rows without one."""
    return [
        (
            after.at_s - moments[0].at_s,
            (after.rows - before.rows) / (after.forwards - before.forwards)
            if after.forwards > before.forwards
            else 0.0,
            after.active,
        )
        for before, after in itertools.pairwise(moments)
    ]


@asynccontextmanager
async def watch_occupancy(metrics_url: str) -> AsyncIterator[list[Moment]]:
    """Note the counts twice a second until the context ends; the list grows meanwhile."""
    moments: list[Moment] = []

    def fetch() -> Moment:
        with urllib.request.urlopen(metrics_url, timeout=10) as response:
            return read_moment(response.read().decode(), time.perf_counter())

    async def watch() -> None:
        while True:
            moments.append(await asyncio.to_thread(fetch))
            await asyncio.sleep(_INTERVAL_S)

    watching = asyncio.create_task(watch())
    try:
        yield moments
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
