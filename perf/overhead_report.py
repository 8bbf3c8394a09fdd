"""The report of `perf.overhead`."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perf.report import surroundings_section, table

TARGET_MS = 5.0
TARGET_PERCENT = 5.0

_STAGES = {
    "preprocess": "check the request (server only)",
    "queue": "wait for a slot (server only)",
    "encode": "encode the prompt, up to the first denoiser call",
    "denoise": "denoise",
    "decode": "decode to pixels",
    "postprocess": "encode as PNG",
    "transport": "gRPC and the way between the models (server only)",
}


@dataclasses.dataclass(frozen=True)
class Pair:
    """One image drawn both ways; all in milliseconds.

    Attributes:
        server_ms: seen by the gRPC client.
        direct_ms: the pipeline call and the encoding of its image.
        server_stages_ms: as the server reports them.
        direct_stages_ms: of the direct way.
        fault: what is wrong with the server's image; empty when nothing is.
    """

    server_ms: float
    direct_ms: float
    server_stages_ms: Mapping[str, float]
    direct_stages_ms: Mapping[str, float]
    fault: str


@dataclasses.dataclass(frozen=True)
class Overhead:
    """What the server costs.

    Attributes:
        server_ms, direct_ms: medians of either way.
        difference_ms: median of the pairs' differences, since a slow moment of the machine hits both of a pair;
            negative when the server is faster.
        lower_ms, upper_ms: quartiles of the pairs' differences.
        percent: `difference_ms` of `direct_ms`.
        within_target: whether it is at most TARGET_MS or TARGET_PERCENT.
    """

    server_ms: float
    direct_ms: float
    difference_ms: float
    lower_ms: float
    upper_ms: float
    percent: float
    within_target: bool


def overhead(pairs: Sequence[Pair]) -> Overhead:
    """What the server costs, over all pairs."""
    server_ms = statistics.median(pair.server_ms for pair in pairs)
    direct_ms = statistics.median(pair.direct_ms for pair in pairs)
    differences_ms = [pair.server_ms - pair.direct_ms for pair in pairs]
    lower_ms, difference_ms, upper_ms = (float(value) for value in np.percentile(differences_ms, (25, 50, 75)))
    percent = difference_ms / direct_ms * 100
    within = difference_ms <= TARGET_MS or percent <= TARGET_PERCENT
    return Overhead(server_ms, direct_ms, difference_ms, lower_ms, upper_ms, percent, within)


def stage_medians(pairs: Sequence[Pair]) -> dict[str, tuple[float, float]]:
    """Median milliseconds of every stage: on the server, and direct (0 for what only a server does)."""
    transport_ms = [pair.server_ms - sum(pair.server_stages_ms.get(stage, 0.0) for stage in _STAGES) for pair in pairs]
    medians = {}
    for stage in _STAGES:
        server_ms = transport_ms if stage == "transport" else [pair.server_stages_ms[stage] for pair in pairs]
        direct_ms = [pair.direct_stages_ms.get(stage, 0.0) for pair in pairs]
        medians[stage] = (statistics.median(server_ms), statistics.median(direct_ms))
    return medians


def overhead_report(
    surroundings: Mapping[str, Any], parameters: Mapping[str, Any], pairs: Sequence[Pair]
) -> tuple[str, dict[str, Any]]:
    """The report as Markdown, and all of it with the single pairs as JSON values."""
    cost = overhead(pairs)
    stages = stage_medians(pairs)
    verdict = "met" if cost.within_target else "NOT met"
    sections = [
        "# What the server costs at concurrency 1",
        surroundings_section(surroundings, parameters),
        "The same images through `image_generation` over gRPC and by the pipeline in this process, in turns.",
        table(
            ("", "ms"),
            [
                ("server, median", cost.server_ms),
                ("direct, median", cost.direct_ms),
                ("difference, median of the pairs", cost.difference_ms),
                ("its lower and upper quartile", f"{cost.lower_ms:.2f} to {cost.upper_ms:.2f}"),
                ("difference in % of direct", cost.percent),
            ],
        ),
        f"Target: within {TARGET_MS:g} ms or {TARGET_PERCENT:g} %: {verdict}.",
        table(
            ("median by stage", "server ms", "direct ms", "difference ms"),
            [(_STAGES[stage], server, direct, server - direct) for stage, (server, direct) in stages.items()],
        ),
    ]
    raw = {
        "surroundings": surroundings,
        "parameters": parameters,
        "overhead": dataclasses.asdict(cost),
        "stages_ms": {stage: {"server": server, "direct": direct} for stage, (server, direct) in stages.items()},
        "pairs": [dataclasses.asdict(pair) for pair in pairs],
    }
    return "\n\n".join(sections) + "\n", raw
