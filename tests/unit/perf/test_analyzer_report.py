"""The report has every run, and says which failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from imagegen_client.transport import MODEL, STREAM_MODEL
from perf.analyzer_inputs import BASE64, TEXT
from perf.analyzer_report import analyzer_report
from perf.analyzer_run import CONCURRENCY, RATE, Load, Measured
from perf.report import write_results
from perf.stage_seconds import STAGES

SURROUNDINGS: dict[str, Any] = {"cpu": "abacus, 2 beads", "command": "python -m perf", "versions": {"torch": "2"}}
TIMES = {"Avg latency": 100.0, "p50 latency": 90.0, "p95 latency": 120.0, "p99 latency": 130.0}
COLUMNS = {"Inferences/Second": 9.5, **TIMES}
PARTS = {
    "Server Queue": 1.5,
    "Server Compute Input": 0.1,
    "Server Compute Infer": 5.0,
    "Server Compute Output": 0.2,
}
CLOSED = Measured(
    Load(MODEL, BASE64, "grpc", CONCURRENCY, 4, 12),
    COLUMNS,
    composing={"diffusion": PARTS},
    stages_ms=dict.fromkeys(STAGES, 10.0) | {"diffusion": 45.0},
)
POISSON = Measured(Load(MODEL, TEXT, "http", RATE, 7.25, 12), COLUMNS, delayed_percent=2.5)
STREAM = Measured(Load(STREAM_MODEL, TEXT, "grpc", CONCURRENCY, 4, 12), COLUMNS)


def test_the_report_has_all_its_parts() -> None:
    markdown, raw = analyzer_report(SURROUNDINGS, {"steps": 4}, [CLOSED, POISSON, STREAM])
    for part in (
        "abacus, 2 beads",
        "steps 4",
        "| image-to-image, base64 | grpc | 4 | 9.50 | 100 | 90.00 | 120 | 130 |",
        "| text-to-image | http | 7.25 | 9.50 | 100 | 90.00 | 120 | 130 | 2.50 |",
        "| text-to-image | 4 | 9.50 | 100 | 90.00 | 120 | 130 |",
        "| image-to-image, base64 | grpc | 4 | diffusion | 1.50 | 0.10 | 5.00 | 0.20 |",
        "## Failed runs\n\nNone.",
    ):
        assert part in markdown
    assert len(raw["measured"]) == 3


def test_stages_and_the_rest_add_up_to_the_mean() -> None:
    markdown, _ = analyzer_report(SURROUNDINGS, {}, [CLOSED])
    (row,) = [line for line in markdown.splitlines() if line.endswith("| 100 |")]
    cells = [float(cell) for cell in row.split("|")[4:-2]]
    assert sum(cells) == 100
    assert cells == [10, 10, 10, 10, 10, 10, 5, 10, 25]


def test_failed_runs_are_named_and_left_out(tmp_path: Path) -> None:

    failed = [Measured(one.load, fault="refused") for one in (CLOSED, POISSON, STREAM)]
    markdown, raw = analyzer_report(SURROUNDINGS, {}, failed)
    for one in failed:
        assert f"| {one.load.name} | refused |" in markdown
    _, data = write_results(tmp_path, "analyzer", markdown, raw)
    assert json.loads(data.read_text())["measured"][0]["fault"] == "refused"
