"""Metrics, collected in process and handed over in the background.

Telling Triton a number costs a round trip between processes (about 0.1 ms), too much for every denoiser forward. So
numbers are added up here, and a thread of its own passes them on a few times a second.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

_FLUSH_EVERY_S = 0.25

_LOGGER = logging.getLogger(__name__)

Labels = tuple[tuple[str, str], ...]
_Key = tuple[str, Labels]


@dataclass(frozen=True)
class Family:
    """One metric family.

    Attributes:
        name: Prometheus name, with its unit.
        kind: counter, gauge or histogram.
        meaning: the HELP text.
        buckets: upper bounds, ascending; histograms only.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    buckets: tuple[float, ...] = ()


class Series(Protocol):
    """One labelled series of the backend, as Triton's `Metric`."""

    def increment(self, value: float) -> None:
        """Add to a counter."""

    def set(self, value: float) -> None:
        """Set a gauge."""

    def observe(self, value: float) -> None:
        """Add one observation to a histogram."""


@dataclass(frozen=True)
class CacheStatistics:
    """Counters of a cache since it was made; `bytes` and `entries` are those held at the moment."""

    hits: int
    misses: int
    evictions: int
    bytes: int
    entries: int


class Metrics:
    """Numbers of one model instance. Safe from any thread.

    Args:
        families: what may be counted.
        new_series: makes a series of the backend, for a family and labels.
        collect: called before each hand-over, to set what is measured rather than counted.
    """

    def __init__(
        self,
        families: Sequence[Family],
        new_series: Callable[[Family, dict[str, str]], Series],
        collect: Callable[[], None] = lambda: None,
    ) -> None:
        self._families = {family.name: family for family in families}
        self._new_series = new_series
        self._collect = collect
        self._series: dict[_Key, Series] = {}
        self._lock = threading.Lock()
        self._counts: defaultdict[_Key, float] = defaultdict(float)
        self._gauges: dict[_Key, float] = {}
        self._observations: defaultdict[_Key, list[float]] = defaultdict(list)
        self._totals: dict[_Key, float] = {}
        self._levels: dict[_Key, float] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        """Begin to hand over."""
        self._thread.start()

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        with self._lock:
            self._counts[name, _sorted(labels)] += amount

    def add_up_to(self, name: str, total: float, **labels: str) -> None:
        """Bring a counter to a running total that is kept elsewhere."""
        key = name, _sorted(labels)
        with self._lock:
            if self._totals.get(key) != total:
                self._counts[key] += total - self._totals.get(key, 0)
                self._totals[key] = total

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge; what it is already costs nothing."""
        key = name, _sorted(labels)
        with self._lock:
            if self._levels.get(key) != value:
                self._gauges[key] = self._levels[key] = value

    def set_cache(self, prefix: str, statistics: CacheStatistics, **labels: str) -> None:
        """Bring the four families of a cache, `prefix` + `cache_hits_total` and so on, to its statistics."""
        self.add_up_to(prefix + "cache_hits_total", statistics.hits, **labels)
        self.add_up_to(prefix + "cache_misses_total", statistics.misses, **labels)
        self.add_up_to(prefix + "cache_evictions_total", statistics.evictions, **labels)
        self.set(prefix + "cache_bytes", statistics.bytes, **labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add an observation to a histogram."""
        with self._lock:
            self._observations[name, _sorted(labels)].append(value)

    def flush(self) -> None:
        """Hand over what has come together."""
        self._collect()
        with self._lock:
            counts, self._counts = self._counts, defaultdict(float)
            gauges, self._gauges = self._gauges, {}
            observations, self._observations = self._observations, defaultdict(list)
        for key, amount in counts.items():
            self._of(key).increment(amount)
        for key, value in gauges.items():
            self._of(key).set(value)
        for key, values in observations.items():
            series = self._of(key)
            for value in values:
                series.observe(value)

    def close(self) -> None:
        """Hand over the rest and end."""
        self._closed.set()
        self._thread.join()
        self.flush()

    def _of(self, key: _Key) -> Series:
        series = self._series.get(key)
        if series is None:
            name, labels = key
            series = self._series[key] = self._new_series(self._families[name], dict(labels))
        return series

    def _run(self) -> None:
        while not self._closed.wait(_FLUSH_EVERY_S):
            try:
                self.flush()
            except Exception:  # metrics never take the model down
                _LOGGER.exception("metrics could not be handed over")


def _sorted(labels: dict[str, str]) -> Labels:
    return tuple(sorted(labels.items()))
