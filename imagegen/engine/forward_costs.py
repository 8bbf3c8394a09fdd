"""Learns how a forward's time grows with its rows, while the server works."""

from __future__ import annotations

import math
import statistics
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from imagegen.engine.device_clock import has_passed, mark, seconds_between

_KEPT_BATCH_KEYS = 256  # more kinds of calls than ever wait at the same time
_KEPT_TIMES, _LEAST_TIMES = 5, 3  # whose median counts: a first forward that allocates or compiles must not


@dataclass
class Timing:
    """The time of a forward that is under way.

    Attributes:
        seconds: set by who knows better, of a forward that others were let into; else what passes meanwhile.
    """

    seconds: float | None = None


class ForwardCosts:
    """Times of recent forwards by batch key and rows. For one thread.

    Args:
        device: where forwards run.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds: OrderedDict[Hashable, dict[int, deque[float]]] = OrderedDict()
        self._medians: dict[Hashable, dict[int, float]] = {}  # of those times that are often enough
        self._running: deque[tuple[Hashable, int, Any, Any]] = deque()  # with marks before and after

    @contextmanager
    def timed(self, batch_key: Hashable, rows: int) -> Iterator[Timing]:
        """Time one forward of that many rows, which runs inside this context. One that raises is forgotten."""
        self._collect()
        before = mark(self._device)
        timing = Timing()
        yield timing
        if timing.seconds is not None:
            self.note(batch_key, rows, timing.seconds)
        else:
            self._running.append((batch_key, rows, before, mark(self._device)))

    def note(self, batch_key: Hashable, rows: int, seconds: float) -> None:
        """Remember that a forward of that many rows took so long."""
        times = self._seconds.setdefault(batch_key, {})
        self._seconds.move_to_end(batch_key)
        recent = times.setdefault(rows, deque(maxlen=_KEPT_TIMES))
        recent.append(seconds)
        if len(recent) >= _LEAST_TIMES:
            self._medians.setdefault(batch_key, {})[rows] = statistics.median(recent)
        if len(self._seconds) > _KEPT_BATCH_KEYS:
            oldest, _ = self._seconds.popitem(last=False)
            self._medians.pop(oldest, None)

    def fixed_rows(self, batch_key: Hashable) -> float:
        """What a forward costs whatever its size, in rows; infinite as long as rows are not known to cost anything."""
        self._collect()
        return fixed_rows_of(self._medians.get(batch_key, {}))

    def seconds(self, batch_key: Hashable, rows: int) -> float | None:
        """What a forward of so many rows takes, or one of the number of rows next to it; None when nothing is known."""
        self._collect()
        times = self._medians.get(batch_key)
        return times[min(times, key=lambda known: abs(known - rows))] if times else None

    def _collect(self) -> None:
        """Note the forwards that the device has finished."""
        while self._running and has_passed(self._running[0][3]):
            batch_key, rows, before, after = self._running.popleft()
            self.note(batch_key, rows, seconds_between(before, after))


def fixed_rows_of(seconds: Mapping[int, float]) -> float:
    """Fixed cost over cost of a row, by the straight line that fits best; 0 or more, infinite without a rising line.

    Args:
        seconds: of a forward, by rows.
    """
    if len(seconds) < 2:
        return math.inf
    per_row, fixed = statistics.linear_regression(list(seconds), list(seconds.values()))
    return max(0.0, fixed) / per_row if per_row > 0 else math.inf
