"""The report of `perf.stages`: parts of a request that are to add up to the whole."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from perf.report import surroundings_section, table

PROTOCOLS = ("gRPC", "HTTP")
TARGET_PERCENT = 5.0

STAGES = {
    "client": "client: tensors, and reading the answer",
    "transport": "gRPC or HTTP: the call, less Triton's own time for the ensemble",
    "preprocess": "preprocess: check the request",
    "queue": "queue: wait for a slot",
    "text": "text encoding, up to the first denoiser call",
    "denoise": "denoise",
    "vae": "VAE: latents to pixels",
    "copy": "copy: pixels out of the model, hand-overs between the models' processes",
    "encode": "encode as PNG",
}
"""By name; `transport` and `copy` are differences, the others are measured where they happen."""

Parts = Mapping[str, float]
"""Milliseconds of one request by the names of STAGES."""


def split(client_ms: float, call_ms: float, ensemble_ms: float, server_ms: Mapping[str, float]) -> Parts:
    """The parts of one request.

    Args:
        client_ms: what the client does outside the call.
        call_ms: the call, as the client sees it.
        ensemble_ms: Triton's own time for the ensemble.
        server_ms: `milliseconds` of the answer's metadata.
    """
    named = {
        "preprocess": server_ms["preprocess"],
        "queue": server_ms["queue"],
        "text": server_ms["encode"],
        "denoise": server_ms["denoise"],
        "vae": server_ms["decode"],
        "encode": server_ms["postprocess"],
    }
    rest = {
        "client": client_ms,
        "transport": call_ms - ensemble_ms,
        "copy": ensemble_ms - sum(named.values()),
    }
    return {stage: (named | rest)[stage] for stage in STAGES}


def stages_report(
    surroundings: Mapping[str, Any],
    parameters: Mapping[str, Any],
    totals_ms: Mapping[str, Sequence[float]],
    parts: Mapping[str, Sequence[Parts]],
) -> tuple[str, dict[str, Any]]:
    """The report as Markdown, and all of it as JSON values.

    Args:
        surroundings: what it was measured with.
        parameters: of the measurement.
        totals_ms: of whole requests, by protocol.
        parts: of other requests, by protocol.
    """
    medians = {
        name: {stage: statistics.median(one[stage] for one in parts[name]) for stage in STAGES} for name in PROTOCOLS
    }
    whole_ms = {name: statistics.median(totals_ms[name]) for name in PROTOCOLS}
    sums_ms = {name: sum(medians[name].values()) for name in PROTOCOLS}
    # By pairs of neighbours, since a slow moment of the machine hits both.
    off_percent = {
        name: statistics.median(
            100 * (sum(one.values()) / total_ms - 1) for one, total_ms in zip(parts[name], totals_ms[name], strict=True)
        )
        for name in PROTOCOLS
    }
    rows: list[list[object]] = [
        [meaning, *(value for name in PROTOCOLS for value in _cells(medians[name][stage], whole_ms[name]))]
        for stage, meaning in STAGES.items()
    ]
    rows.append(["**sum**", *(value for name in PROTOCOLS for value in _cells(sums_ms[name], whole_ms[name]))])
    rows.append(
        ["**whole request, timed apart**", *(value for name in PROTOCOLS for value in (whole_ms[name], "100.0 %"))]
    )
    met = all(abs(percent) <= TARGET_PERCENT for percent in off_percent.values())
    sections = [
        "# Where each millisecond goes, at concurrency 1",
        surroundings_section(surroundings, parameters),
        "Medians. Whole requests are timed as a user's program sees them; the parts are those of other requests, sent "
        "in turns with them, so that a part that is missing would show.",
        table(("stage", *(column for name in PROTOCOLS for column in (f"{name} ms", "share"))), rows),
        f"Target: the parts add up to the whole within {TARGET_PERCENT:g} %, median of neighbours: "
        + ", ".join(f"{name} {percent:+.1f} %" for name, percent in off_percent.items())
        + f": {'met' if met else 'NOT met'}.",
    ]
    raw = {
        "surroundings": surroundings,
        "parameters": parameters,
        "medians_ms": medians,
        "whole_ms": whole_ms,
        "off_percent": off_percent,
        "met": met,
        "totals_ms": totals_ms,
        "parts_ms": {name: list(map(dict, parts[name])) for name in PROTOCOLS},
    }
    return "\n\n".join(sections) + "\n", raw


def _cells(milliseconds: float, whole_ms: float) -> tuple[float, str]:
    return milliseconds, f"{100 * milliseconds / whole_ms:.1f} %"
