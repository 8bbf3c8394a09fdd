"""The report of `perf.frontend`."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perf.report import surroundings_section, table

ENSEMBLE = "gRPC, image_generation"
STREAM = "gRPC, image_generation_stream"
FRONTEND = "OpenAI frontend"
TARGET_MS = 4.0
TARGET_RSS_BYTES = 300 * 10**6
_LATE_S = "0.025"


@dataclasses.dataclass(frozen=True)
class Streams:
    """Many streams at once.

    Attributes:
        open: the most that were open at the same moment.
        completed: how many ended with an image.
        before_bytes, most_bytes: resident memory of the frontend before them, and the most with them.
        lag: how often its event loop woke a timer at most so many seconds late, by upper bound; "+Inf" for all.
    """

    open: int
    completed: int
    before_bytes: int
    most_bytes: int
    lag: Mapping[str, int]

    @property
    def punctual_percent(self) -> float:
        """Of the timers, how many were at most 25 ms late."""
        return 100 * self.lag[_LATE_S] / self.lag["+Inf"] if self.lag.get("+Inf") else float("nan")


def frontend_report(
    surroundings: Mapping[str, Any],
    parameters: Mapping[str, Any],
    times_ms: Mapping[str, Sequence[float]],
    cpu_ms: float,
    streams: Streams,
) -> tuple[str, dict[str, Any]]:
    """The report as Markdown, and all of it as JSON values.

    Args:
        surroundings: what it was measured with.
        parameters: of the measurement.
        times_ms: milliseconds of each image by way; those of one index belong together.
        cpu_ms: processor time that the frontend took for each image, which other work on the machine hardly changes.
        streams: many at once.
    """
    costs = {name: _cost(times_ms, name) for name in (STREAM, ENSEMBLE)}
    met = "met" if costs[STREAM][1] < TARGET_MS else "NOT met"
    light = "met" if streams.most_bytes < TARGET_RSS_BYTES else "NOT met"
    sections = [
        "# What the OpenAI frontend costs",
        surroundings_section(surroundings, parameters),
        "## One request at a time",
        "The same images three ways, in turns; the differences are medians over the rounds.",
        table(("median", "ms"), [(name, statistics.median(values)) for name, values in times_ms.items()]),
        table(
            ("frontend over", "lower quartile ms", "median ms", "upper quartile ms"),
            [(name, *cost) for name, cost in costs.items()],
        ),
        f"Processor time of the frontend: {cpu_ms:.2f} ms for each image.",
        f"Target: under {TARGET_MS:g} ms over the gRPC call that it makes: {met}.",
        "## Many streams at once",
        table(
            ("", "value"),
            [
                ("streams open at the same time", streams.open),
                ("ended with an image", streams.completed),
                ("resident memory before, MB", streams.before_bytes / 1e6),
                ("the most with them, MB", streams.most_bytes / 1e6),
                ("event loop at most 25 ms late, % of timers", streams.punctual_percent),
            ],
        ),
        f"Target: under {TARGET_RSS_BYTES / 1e6:.0f} MB: {light}.",
    ]
    raw = {
        "surroundings": surroundings,
        "parameters": parameters,
        "over_ms": {name: dict(zip(("lower", "median", "upper"), cost, strict=True)) for name, cost in costs.items()},
        "cpu_ms": cpu_ms,
        "streams": dataclasses.asdict(streams),
        "times_ms": {name: list(values) for name, values in times_ms.items()},
    }
    return "\n\n".join(sections) + "\n", raw


def _cost(times_ms: Mapping[str, Sequence[float]], name: str) -> tuple[float, float, float]:
    """Quartiles of what the frontend takes longer than `name`, round by round."""
    lower, median, upper = np.percentile(np.subtract(times_ms[FRONTEND], times_ms[name]), (25, 50, 75))
    return float(lower), float(median), float(upper)
