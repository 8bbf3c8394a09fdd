"""The report of `perf.growth`."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perf.figures import Summary, percentile_ms
from perf.occupancy import Moment, mean_rows
from perf.report import surroundings_section, table

_TITLES = {"n": "n, images of a request", "side_px": "side of a square image in pixels", "steps": "denoising steps"}


@dataclasses.dataclass(frozen=True)
class Asked:
    """One answered request.

    Attributes:
        ms: as the client saw it.
        encode_ms: of it for the prompt.
        mean_batch_rows: rows of the forwards that it took part in.
    """

    ms: float
    encode_ms: float
    mean_batch_rows: float


@dataclasses.dataclass
class Growth:
    """What was measured.

    Attributes:
        single: milliseconds of single requests by what was varied and its value.
        concurrency: requests and seconds of closed loops by clients.
        capacity_per_s: requests per second of one client with the mix of short and long ones.
        loads: open loops by share of that.
        spans: when each of those began and ended, by time.perf_counter.
        moments: counts of the server during the open loops.
        in_flight: requests that were sent at once, and seconds until the last answer, by their number.
        hit_rates: requests by share of prompts that came before.
        errors: of requests that failed.
    """

    single: dict[str, dict[int, list[float]]] = dataclasses.field(default_factory=dict)
    concurrency: dict[int, tuple[list[Asked], float]] = dataclasses.field(default_factory=dict)
    capacity_per_s: float = math.nan
    loads: dict[float, Summary] = dataclasses.field(default_factory=dict)
    spans: dict[float, tuple[float, float]] = dataclasses.field(default_factory=dict)
    moments: list[Moment] = dataclasses.field(default_factory=list)
    in_flight: dict[int, tuple[list[Asked], float]] = dataclasses.field(default_factory=dict)
    hit_rates: dict[float, list[Asked]] = dataclasses.field(default_factory=dict)
    errors: list[str] = dataclasses.field(default_factory=list)


def growth_exponent(points: Mapping[int, float]) -> float:
    """e of the best fit value = factor · x^e: 1 is proportional, 0 constant; NaN of fewer than two points."""
    if len(points) < 2:
        return math.nan
    slope, _ = np.polyfit(np.log(list(points)), np.log(list(points.values())), 1)
    return float(slope)


def growth_report(
    surroundings: Mapping[str, Any], parameters: Mapping[str, Any], growth: Growth
) -> tuple[str, dict[str, Any]]:
    """The report as Markdown, and all of it as JSON values."""
    single = {
        name: {value: statistics.median(times) for value, times in by_value.items()}
        for name, by_value in growth.single.items()
    }
    # The area is what an image's cost is expected to follow.
    areas = {side * side: ms for side, ms in single.get("side_px", {}).items()}
    exponents = {name: growth_exponent(areas if name == "side_px" else by_value) for name, by_value in single.items()}
    closed = {clients: _closed(answered, seconds) for clients, (answered, seconds) in growth.concurrency.items()}
    flights = {requests: _closed(answered, seconds) for requests, (answered, seconds) in growth.in_flight.items()}
    occupancy = mean_rows(growth.moments)
    start_s = growth.moments[0].at_s if growth.moments else 0.0
    sections = [
        "# How the cost grows",
        surroundings_section(surroundings, parameters),
        "Single requests have 4 steps, one image and the side above where these are not what is varied. Every prompt "
        "is a new one.",
        *(_single_section(name, single[name], exponents[name], growth.single[name]) for name in single),
        "## Concurrency",
        "A closed loop of so many clients; requests of 4 steps. Rows are those of a denoiser forward (two an image).",
        table(
            ("clients", "requests/s", "p50 ms", "p95 ms", "mean rows", "requests"),
            [(str(clients), *one.values()) for clients, one in closed.items()],
        ),
        "## Offered load",
        f"An open loop of 70 % short (4 steps) and 30 % long requests (50), Poisson arrivals, as shares of the "
        f"{growth.capacity_per_s:.2f} requests/s that one client gets, one request after the other.",
        table(
            (
                "load",
                "short p50 ms",
                "short p95 ms",
                "short p99 ms",
                "long p50 ms",
                "long p95 ms",
                "requests/s",
                "requests",
            ),
            [
                (
                    f"{load:.0%}",
                    one.short_p50_ms,
                    one.short_p95_ms,
                    one.short_p99_ms,
                    one.long_p50_ms,
                    one.long_p95_ms,
                    one.requests_per_s,
                    one.requests,
                )
                for load, one in growth.loads.items()
            ],
        ),
        "## In flight",
        "So many requests of one step and 64x64 pixels, sent at once.",
        table(
            ("requests", "requests/s", "p50 ms", "p95 ms", "mean rows", "answered"),
            [(str(requests), *one.values()) for requests, one in flights.items()],
        ),
        "## Prompt cache",
        "Requests of one step, of which a share has a prompt that came before.",
        table(
            ("hits", "text encoding, mean ms", "request, mean ms", "requests"),
            [
                (
                    f"{rate:.0%}",
                    statistics.fmean(one.encode_ms for one in answered),
                    statistics.fmean(one.ms for one in answered),
                    len(answered),
                )
                for rate, answered in growth.hit_rates.items()
            ],
        ),
        f"Failed requests: {len(growth.errors)}.",
    ]
    raw = {
        "surroundings": surroundings,
        "parameters": parameters,
        "single_ms": growth.single,
        "exponents": exponents,
        "concurrency": closed,
        "capacity_per_s": growth.capacity_per_s,
        "loads": {f"{load:g}": dataclasses.asdict(one) for load, one in growth.loads.items()},
        "spans_s": {f"{load:g}": [begin - start_s, end - start_s] for load, (begin, end) in growth.spans.items()},
        "occupancy": occupancy,
        "in_flight": flights,
        "hit_rates": {
            f"{rate:g}": [dataclasses.asdict(one) for one in answered] for rate, answered in growth.hit_rates.items()
        },
        "errors": growth.errors,
    }
    return "\n\n".join(sections) + "\n", raw


def _single_section(
    name: str, medians: Mapping[int, float], exponent: float, times: Mapping[int, Sequence[float]]
) -> str:
    per = {"n": "image", "steps": "step", "side_px": "1000 pixels"}[name]
    rows = [
        (str(value), ms, ms / (value * value / 1000 if name == "side_px" else value), len(times[value]))
        for value, ms in medians.items()
    ]
    what = "the area" if name == "side_px" else name
    return "\n\n".join(
        (
            f"## {_TITLES[name][0].upper() + _TITLES[name][1:] if name != 'n' else _TITLES[name]}",
            table((name, "median ms", f"ms a {per}", "requests"), rows),
            f"The cost grows as {what} to the power of {exponent:.2f}.",
        )
    )


def _closed(answered: Sequence[Asked], seconds: float) -> dict[str, float]:
    latencies_s = [one.ms / 1000 for one in answered]
    return {
        "requests_per_s": len(answered) / seconds,
        "p50_ms": percentile_ms(latencies_s, 50),
        "p95_ms": percentile_ms(latencies_s, 95),
        "mean_rows": statistics.fmean(one.mean_batch_rows for one in answered) if answered else math.nan,
        "requests": len(answered),
    }
