"""The report of `perf.soak`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perf.report import surroundings_section, table

MAX_RSS_GROWTH_PERCENT = 3.0
_LEAST_FOR_VERDICT_S = 300.0
_HELD = {
    "rss_bytes": "resident memory, MiB",
    "shm_bytes": "/dev/shm, MiB",
    "threads": "threads",
    "sockets": "sockets",
    "processes": "processes",
}
_MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Sample:
    """What the server held at one moment; see `perf.process_tree.Holding`.

    Attributes:
        at_s: since the start.
        answered: requests so far.
    """

    at_s: float
    answered: int
    rss_bytes: int
    threads: int
    sockets: int
    processes: int
    shm_bytes: int


def growth_percent(samples: Sequence[tuple[float, float]]) -> float:
    """By how many percent a value grows from the first moment to the last, along the straight line that fits best.

    Args:
        samples: (second, value).
    """
    if len(samples) < 2:
        return math.nan
    seconds, values = np.array(samples, dtype=float).T
    slope, offset = np.polyfit(seconds, values, 1)
    first, last = offset + slope * seconds[0], offset + slope * seconds[-1]
    return float(100 * (last / first - 1)) if first > 0 else 0.0


def soak_report(
    surroundings: Mapping[str, Any],
    parameters: Mapping[str, Any],
    samples: Sequence[Sample],
    failures: Sequence[str],
    settled_s: float,
) -> tuple[str, dict[str, Any]]:
    """The report as Markdown, and all of it as JSON values.

    Args:
        surroundings: what it was measured with.
        parameters: of the soak.
        samples: in order.
        failures: requests that failed or were answered wrongly.
        settled_s: the growth counts from this second.
    """
    settled = [sample for sample in samples if sample.at_s >= settled_s]
    growth = {name: growth_percent([(one.at_s, float(getattr(one, name))) for one in settled]) for name in _HELD}
    # A thread more or less comes and goes; what leaks with each of thousands of requests shows in the ends.
    too_short = not samples or samples[-1].at_s < _LEAST_FOR_VERDICT_S
    grown = [name for name in _HELD if name != "rss_bytes" and not too_short and _ends(settled, name)]
    leaks = growth["rss_bytes"] >= MAX_RSS_GROWTH_PERCENT or bool(grown)
    met = not failures and bool(settled) and (too_short or not leaks)
    answered = samples[-1].answered if samples else 0
    verdict = (
        "too short for a verdict on growth"
        if too_short
        else f"{'met' if met else 'NOT met'}{': growing: ' + ', '.join(grown) if grown else ''}"
    )
    sections = [
        "# Soak",
        surroundings_section(surroundings, parameters),
        f"{answered} requests of all tasks, several sizes, 70 % short and 30 % long, every answer checked; "
        f"{len(failures)} failed. Sampled over the server and all its processes; growth along the best straight line "
        f"from second {settled_s:g} on.",
        table(
            ("held", f"at {settled_s:g} s", "at the end", "most", "growth %"),
            [_row(name, settled, growth[name]) for name in _HELD] if settled else [],
        ),
        f"Target: no failed request, resident memory grows by less than {MAX_RSS_GROWTH_PERCENT:g} %, no growth of "
        f"/dev/shm, threads, sockets: {verdict}.",
    ]
    raw = {
        "surroundings": surroundings,
        "parameters": parameters,
        "growth_percent": growth,
        "grown": grown,
        "too_short": too_short,
        "answered": answered,
        "failures": list(failures),
        "met": met,
        "samples": [dataclasses.asdict(sample) for sample in samples],
    }
    return "\n\n".join(sections) + "\n", raw


def _ends(settled: Sequence[Sample], name: str) -> bool:
    """Whether it is higher at the end, at its lowest over a tenth of the time, than it ever was in the first half."""
    values = [getattr(sample, name) for sample in settled]
    tenth, half = max(1, len(values) // 10), max(1, len(values) // 2)
    return len(values) > 1 and min(values[-tenth:]) > max(values[:half])


def _row(name: str, settled: Sequence[Sample], growth: float) -> tuple[object, ...]:
    unit = _MIB if name.endswith("_bytes") else 1
    values = [getattr(sample, name) / unit for sample in settled]
    return (_HELD[name], values[0], values[-1], max(values), growth)
