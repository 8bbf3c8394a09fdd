"""The part `scaling`: how does the cost of a single request grow with n, size and steps?"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagegen_client import GenerateResult, ImageClient
from perf.environment import triton_version
from perf.own_server import own_server
from perf.report import Section, table
from perf.turns import take_turns
from perf.workload import SHORT_STEPS

SERIES = {"n": (1, 2, 4, 8), "side_px": (64, 96, 128, 192, 256), "num_inference_steps": (1, 5, 10, 20, 50)}
"""What is varied in single requests, each alone."""


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        rounds: single requests of each kind.
        side_px: of the images where it is not what is varied.
    """

    rounds: int = 5
    side_px: int = 128


QUICK = Settings(rounds=1)


def measure(settings: Settings, checkpoint: Path) -> Section:
    """Send everything to a server of its own; every prompt is a new one."""
    with own_server(checkpoint) as server:
        with ImageClient(server.grpc_url) as client:
            turns = take_turns("single requests", _single_requests(client, settings), settings.rounds, warmup=1)
        single_ms = {name: [turn.ms for turn in kind] for name, kind in turns.items()}
        return section(settings, single_ms, triton_version(server.http_url))


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


def growth_exponent(points: Mapping[int, float]) -> float:
    """e of the best fit value = factor · x^e: 1 is proportional, 0 constant; NaN of fewer than two points."""
    if len(points) < 2:
        return math.nan
    slope, _ = np.polyfit(np.log(list(points)), np.log(list(points.values())), 1)
    return float(slope)


def section(settings: Settings, single_ms: Mapping[str, Sequence[float]], versions: Mapping[str, str]) -> Section:
    """What the report says about milliseconds of single requests by kind."""
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
    return Section(
        title="How the cost grows",
        settings=settings,
        paragraphs=paragraphs,
        raw={"single_ms": single_ms, "exponents": exponents},
        versions=versions,
    )
