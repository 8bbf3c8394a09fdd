"""What the responses add up to: percentiles by kind of request, requests per second, ratios between servers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from perf.report import table
from perf.workload import SHORT_STEPS

COLUMNS = {
    "short p50 ms": "short_p50_ms",
    "short p95 ms": "short_p95_ms",
    "short p99 ms": "short_p99_ms",
    "long p50 ms": "long_p50_ms",
    "long p95 ms": "long_p95_ms",
    "requests/s": "requests_per_s",
    "requests": "requests",
    "wrong": "errors",
}
"""What a table of summaries shows: the column, and the attribute of `Summary`."""
COMPARED = ("short p50 ms", "short p95 ms", "long p50 ms", "long p95 ms", "requests/s")
"""Those of the columns in which servers are compared."""


@dataclass(frozen=True)
class Record:
    """One request of a measurement.

    Attributes:
        scenario: the load it was part of.
        server: which one it was sent to.
        round: which repetition, from 0.
        num_inference_steps: what it asked for.
        started_s: when it was due (open loop) or sent (closed loop), from the start of its round.
        latency_s: from there to the response.
        error: empty when the response is right.
    """

    scenario: str
    server: str
    round: int
    num_inference_steps: int
    started_s: float
    latency_s: float
    error: str


@dataclass(frozen=True)
class Summary:
    """One server under one load; latencies in milliseconds, NaN where no request of the kind was answered rightly."""

    short_p50_ms: float
    short_p95_ms: float
    short_p99_ms: float
    long_p50_ms: float
    long_p95_ms: float
    requests_per_s: float
    requests: int
    errors: int


def percentile_ms(latencies_s: Sequence[float], percent: float) -> float:
    """A percentile in milliseconds, interpolated between neighbours; NaN of nothing."""
    return float(np.percentile(latencies_s, percent)) * 1000 if latencies_s else math.nan


def summarize(records: Iterable[Record]) -> Summary:
    """All rounds of one server under one load, pooled."""
    records = list(records)
    right = [record for record in records if not record.error]
    short = [record.latency_s for record in right if record.num_inference_steps == SHORT_STEPS]
    long = [record.latency_s for record in right if record.num_inference_steps != SHORT_STEPS]
    duration_s = sum(
        _duration_s([record for record in records if record.round == number])
        for number in {record.round for record in records}
    )
    return Summary(
        short_p50_ms=percentile_ms(short, 50),
        short_p95_ms=percentile_ms(short, 95),
        short_p99_ms=percentile_ms(short, 99),
        long_p50_ms=percentile_ms(long, 50),
        long_p95_ms=percentile_ms(long, 95),
        requests_per_s=len(right) / duration_s if duration_s else 0.0,
        requests=len(records),
        errors=len(records) - len(right),
    )


def summarize_all(records: Iterable[Record]) -> dict[str, dict[str, Summary]]:
    """Summaries by scenario, then by server, in order of first appearance."""
    grouped: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        grouped.setdefault(record.scenario, {}).setdefault(record.server, []).append(record)
    return {
        scenario: {server: summarize(group) for server, group in servers.items()}
        for scenario, servers in grouped.items()
    }


@dataclass(frozen=True)
class Advantage:
    """By what factor one server does better than another; above 1 is better.

    Attributes:
        pooled: over all rounds together.
        lowest, highest: of the single rounds.
    """

    pooled: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        """With the range over the rounds where there are several."""
        span = f" ({self.lowest:.2f} to {self.highest:.2f})" if self.lowest != self.highest else ""
        return f"{self.pooled:.2f}x{span}"


def advantage(records: Sequence[Record], server: str, other: str, statistic: str) -> Advantage:
    """How much better `server` does than `other` in one scenario.

    Args:
        records: of one scenario.
        server, other: names of servers.
        statistic: an attribute of `Summary`: latencies (`..._ms`) are better when low, the rest when high.
    """

    def factor(chosen: Sequence[Record]) -> float:
        mine, theirs = (
            float(getattr(summarize(record for record in chosen if record.server == name), statistic))
            for name in (server, other)
        )
        better, worse = (theirs, mine) if statistic.endswith("_ms") else (mine, theirs)
        return better / worse if worse else math.nan

    rounds = [
        factor([record for record in records if record.round == number])
        for number in sorted({record.round for record in records})
    ]
    return Advantage(factor(records), min(rounds), max(rounds))


def summary_table(summaries: Mapping[str, Summary], titles: Mapping[str, str]) -> str:
    """A Markdown table of servers under one load; `titles` has what they are called, and their order."""
    rows = [
        [title, *(getattr(summaries[name], statistic) for statistic in COLUMNS.values())]
        for name, title in titles.items()
        if name in summaries
    ]
    return table(("server", *COLUMNS), rows)


def advantage_table(records: Sequence[Record], server: str, titles: Mapping[str, str]) -> str:
    """A Markdown table of how much better `server` does than the others of `titles` under one load."""
    rows = [
        [title, *(str(advantage(records, server, name, COLUMNS[column])) for column in COMPARED)]
        for name, title in titles.items()
        if name != server and any(record.server == name for record in records)
    ]
    return table(
        (f"{titles[server]} is better than (by round)", *(name.removesuffix(" ms") for name in COMPARED)), rows
    )


def _duration_s(records: Sequence[Record]) -> float:
    """From the first request of a round to its last response."""
    first = min(record.started_s for record in records)
    return max(record.started_s + record.latency_s for record in records) - first
