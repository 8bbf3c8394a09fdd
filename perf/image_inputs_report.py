"""The report of `perf.image_inputs`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from perf.report import surroundings_section, table

TEXT_TO_IMAGE = "text-to-image"
BASE64_JPEG = "base64 JPEG"
TARGETS_MS = {TEXT_TO_IMAGE: 1.0, BASE64_JPEG: 15.0}
TARGET_GROWTH_PERCENT = 5.0


@dataclass(frozen=True)
class Times:
    """Requests of one kind; milliseconds of each.

    Attributes:
        client_ms: seen by the gRPC client, which asks for the report and not for the pixels.
        step_ms: as the step itself reports: from its inputs to its outputs.
    """

    client_ms: Sequence[float]
    step_ms: Sequence[float]


@dataclass(frozen=True)
class Memory:
    """Resident memory of the server and its model process, as requests go by.

    Attributes:
        requests: answered so far, one number for each sample.
        rss_bytes: at that moment.
        first, last: the samples that are compared, by number of requests.
    """

    requests: Sequence[int]
    rss_bytes: Sequence[int]
    first: int
    last: int

    @property
    def growth_percent(self) -> float:
        """From the first compared sample to the last."""
        by_requests = dict(zip(self.requests, self.rss_bytes, strict=True))
        return (by_requests[self.last] / by_requests[self.first] - 1) * 100


def image_inputs_report(
    about: Mapping[str, Any],
    parameters: Mapping[str, Any],
    ping_ms: Sequence[float],
    times: Mapping[str, Times],
    memory: Memory,
) -> tuple[str, dict[str, Any]]:
    """The report as Markdown, and the raw numbers.

    Args:
        about: what `surroundings` tells.
        parameters: what was measured.
        ping_ms: round trips of a gRPC call that does nothing, from the same client.
        times: by kind of request.
        memory: of the server that answered them.
    """
    rows = [
        (
            kind,
            statistics.median(measured.client_ms),
            float(np.percentile(measured.client_ms, 95)),
            statistics.median(measured.step_ms),
            _verdict(statistics.median(measured.client_ms), TARGETS_MS[kind], "ms") if kind in TARGETS_MS else "",
        )
        for kind, measured in times.items()
    ]
    sections = [
        "# image_preprocess: time and memory",
        surroundings_section(about, parameters),
        "## Milliseconds of a request",
        table(("request", "client, median", "client, p95", "in the step, median", "target: client median"), rows),
        "The client talks gRPC to `image_preprocess` alone, one request at a time, all kinds in turns. Its time holds"
        f" everything the step costs a request, and the call itself: one that does nothing takes"
        f" {statistics.median(ping_ms):.2f} ms (median).",
        "## Resident memory",
        table(
            ("requests with images", "MiB"),
            [(str(n), rss / 2**20) for n, rss in zip(memory.requests, memory.rss_bytes, strict=True)],
        ),
        f"From {memory.first} to {memory.last} requests: {memory.growth_percent:+.1f} %."
        f" Target: {_verdict(memory.growth_percent, TARGET_GROWTH_PERCENT, '%')}.",
    ]
    raw = {
        "surroundings": about,
        "parameters": parameters,
        "ping_ms": list(ping_ms),
        "times": {kind: asdict(measured) for kind, measured in times.items()},
        "memory": asdict(memory),
    }
    return "\n\n".join(sections) + "\n", raw


def _verdict(value: float, target: float, unit: str) -> str:
    return f"under {target:g} {unit}: {'met' if value < target else 'missed'}"
