"""The part `scaling`: how does the cost grow with n, size, steps and concurrency?"""

from __future__ import annotations

import asyncio
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagegen_client import AsyncImageClient, GenerateResult, ImageClient
from perf.environment import triton_version
from perf.load import Completed, closed_loop
from perf.own_server import own_server
from perf.report import Section, table
from perf.summaries import percentile_ms
from perf.traces import Planned, own_request
from perf.turns import take_turns
from perf.workload import SHORT_STEPS

SERIES = {"n": (1, 2, 4, 8), "side_px": (64, 96, 128, 192, 256), "num_inference_steps": (1, 5, 10, 20, 50)}
"""What is varied in single requests, each alone."""


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        rounds: single requests of each kind.
        clients: of the closed loops.
        each: requests of each of them.
        side_px: of the images where it is not what is varied.
    """

    rounds: int = 5
    clients: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    each: int = 6
    side_px: int = 128


QUICK = Settings(rounds=1, clients=(1, 2, 4), each=2)


def measure(settings: Settings, checkpoint: Path) -> Section:
    """Send everything to a server of its own; every prompt is a new one."""
    with own_server(checkpoint) as server:
        with ImageClient(server.grpc_url) as client:
            turns = take_turns("single requests", _single_requests(client, settings), settings.rounds, warmup=1)
        single_ms = {name: [turn.ms for turn in kind] for name, kind in turns.items()}
        closed = asyncio.run(_closed_loops(server.grpc_url, settings))
        return section(settings, single_ms, closed, triton_version(server.http_url))


def _single_requests(client: ImageClient, settings: Settings) -> dict[str, Callable[[int], GenerateResult]]:
    def one(series: str, value: int, number: int) -> GenerateResult:
        side_px = value if series == "side_px" else settings.side_px
        values: dict[str, Any] = {"num_inference_steps": SHORT_STEPS, "size": f"{side_px}x{side_px}", "seed": 1}
        if series != "side_px":
            values[series] = value
        return client.generate(f"{series} {value}, round {number}", **values)

    return {
        f"{series} {value}": lambda number, series=series, value=value: one(series, value, number)  # type: ignore[misc]
        for series, values in SERIES.items()
        for value in values
    }


async def _closed_loops(grpc_url: str, settings: Settings) -> dict[int, list[Completed]]:
    """Short requests of closed loops, by clients."""
    completed = {}
    async with AsyncImageClient(grpc_url) as client:
        for clients in settings.clients:
            requests = [
                own_request(i, SHORT_STEPS, 1000 * clients, settings.side_px) for i in range(clients * settings.each)
            ]
            trace = [Planned(0.0, request) for request in requests]
            completed[clients] = await closed_loop(client, trace, clients, lambda: None)
    return completed


def growth_exponent(points: Mapping[int, float]) -> float:
    """e of the best fit value = factor · x^e: 1 is proportional, 0 constant; NaN of fewer than two points."""
    if len(points) < 2:
        return math.nan
    slope, _ = np.polyfit(np.log(list(points)), np.log(list(points.values())), 1)
    return float(slope)


def section(
    settings: Settings,
    single_ms: Mapping[str, Sequence[float]],
    closed: Mapping[int, Sequence[Completed]],
    versions: Mapping[str, str],
) -> Section:
    """What the report says about it.

    Args:
        settings: of the measurement.
        single_ms: milliseconds of single requests by kind.
        closed: requests of the closed loops, by clients.
        versions: of what was measured.
    """
    paragraphs = [
        f"Single requests have {SHORT_STEPS} steps, one image and the side above where these are not what is varied."
    ]
    exponents = {}
    for series, values in SERIES.items():
        medians = {value: statistics.median(single_ms[f"{series} {value}"]) for value in values}
        is_side = series == "side_px"  # the area is what an image's cost is expected to follow
        exponents[series] = growth_exponent({v * v if is_side else v: ms for v, ms in medians.items()})
        rows = [(str(v), ms, ms / (v * v / 1000 if is_side else v)) for v, ms in medians.items()]
        per = "1000 pixels" if is_side else {"n": "image"}.get(series, "step")
        paragraphs += [
            f"### {series}",
            table((series, "median ms", f"ms a {per}"), rows),
            f"The cost grows as {'the area' if is_side else series} to the power of {exponents[series]:.2f}.",
        ]
    by_clients = {clients: _closed_row(completed) for clients, completed in closed.items()}
    paragraphs += [
        "### Concurrency",
        f"Closed loops; requests of {SHORT_STEPS} steps. Rows are those of a denoiser forward (two an image).",
        table(
            ("clients", "requests/s", "p50 ms", "p95 ms", "mean rows"),
            [(str(clients), *one.values()) for clients, one in by_clients.items()],
        ),
    ]
    return Section(
        title="How the cost grows",
        settings=settings,
        paragraphs=paragraphs,
        raw={
            "single_ms": single_ms,
            "exponents": exponents,
            "concurrency": by_clients,
        },
        faults=[one.error for completed in closed.values() for one in completed if one.error],
        versions=versions,
    )


def _closed_row(completed: Sequence[Completed]) -> dict[str, float]:
    right = [one for one in completed if one.result is not None]
    latencies_s = [one.latency_s for one in right]
    rows = [one.result.metadata["mean_batch_rows"] for one in right if one.result is not None]
    return {
        "requests_per_s": len(right) / max((one.started_s + one.latency_s for one in right), default=math.inf),
        "p50_ms": percentile_ms(latencies_s, 50),
        "p95_ms": percentile_ms(latencies_s, 95),
        "mean_rows": statistics.fmean(rows) if rows else math.nan,
    }
