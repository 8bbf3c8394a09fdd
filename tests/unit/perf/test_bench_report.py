"""The report is made of the parts that there are, says what failed, and has plots that can be opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from perf.bench_plots import draw_plots
from perf.bench_report import Outcome, bench_report, part_section
from perf.report import surroundings_section
from perf.stages_report import PROTOCOLS, STAGES

SURROUNDINGS: dict[str, Any] = {
    "date": "2026-01-01 00:00 UTC",
    "commit": "abc1234",
    "command": "./build.sh bench",
    "cpu": "abacus, 2 beads",
    "gpu": "none",
    "python": "3.11",
    "versions": {"torch": "2"},
}
SUMMARY = {"short_p50_ms": 1.0, "short_p95_ms": 2.0, "short_p99_ms": 3.0, "long_p50_ms": 4.0, "long_p95_ms": None}
PEERS = {
    "plan": {"open_name": "open", "closed_name": "closed", "load": 0.8, "clients": 8},
    "summaries": {
        name: {engine: SUMMARY | {"requests_per_s": 2.0} for engine in ("hub", "fastapi")}
        for name in ("open", "closed")
    },
    "targets": [{"meaning": "15x", "other": "fastapi", "verdict": "met", "advantage": {"pooled": 16.0}}],
}
RAW: dict[str, dict[str, Any]] = {
    "peers": PEERS,
    "peers_launch_bound": PEERS,
    "stages": {
        "medians_ms": {name: dict.fromkeys(STAGES, 1.0) for name in PROTOCOLS},
        "whole_ms": dict.fromkeys(PROTOCOLS, 9.0),
        "off_percent": dict.fromkeys(PROTOCOLS, 0.4),
        "met": True,
        "parameters": {"steps": 20},
    },
    "growth": {
        "loads": {"0.8": SUMMARY, "1.1": SUMMARY},
        "capacity_per_s": 2.0,
        "concurrency": {str(n): {"requests_per_s": n, "mean_rows": n, "p95_ms": n} for n in (1, 4)},
        "occupancy": [[1.0, 2.0, 1], [2.0, 4.0, 2]],
        "spans_s": {"0.8": [0.0, 1.0], "1.1": [1.0, 2.0]},
        "single_ms": {"steps": {"1": [1.0], "10": [9.0]}, "side_px": {"64": [1.0]}},
        "exponents": {"steps": 0.95, "side_px": None},
    },
    "soak": {
        "samples": [
            {"at_s": at, "rss_bytes": 2**30, "shm_bytes": 0, "threads": 9, "sockets": 9} for at in (0.0, 5.0, 10.0)
        ],
        "answered": 12,
        "failures": [],
        "grown": [],
        "growth_percent": {"rss_bytes": 0.1},
        "too_short": True,
        "met": True,
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, raw in RAW.items():
        about = SURROUNDINGS | {"versions": {"tritonserver": "2"}, "command": f"python -m perf.{name}"}
        (tmp_path / f"{name}.json").write_text(json.dumps(raw | {"surroundings": about}))
    return tmp_path


def test_all_plots_are_drawn_and_the_peers_come_first(folder: Path) -> None:
    plots = draw_plots(folder, list(RAW), SURROUNDINGS)
    assert plots[0].file == "peers.png"
    assert {plot.part for plot in plots} == set(RAW)
    for plot in plots:
        with Image.open(folder / plot.file) as opened:
            assert min(opened.size) > 400


def test_only_what_was_run_is_drawn(folder: Path) -> None:
    assert {plot.part for plot in draw_plots(folder, ["soak"], SURROUNDINGS)} == {"soak"}
    (folder / "soak.json").unlink()
    assert draw_plots(folder, ["soak"], SURROUNDINGS) == []


def test_the_report_has_targets_parts_and_faults(folder: Path) -> None:
    outcomes = [
        Outcome("peers", "peers", 61.0, ""),
        Outcome("soak", "soak", 9.0, ""),
        Outcome("gpu", "gpu", 1.0, "burnt"),
    ]
    plots = draw_plots(folder, ["peers", "soak"], SURROUNDINGS)
    markdowns = {"peers": "# Peers side by side\n", "soak": "# Soak\n"}
    markdown, raw = bench_report(SURROUNDINGS, outcomes, markdowns, plots, folder)
    for part in (
        "| bundled checkpoint: 15x | 16.00x (FastAPI) | met |",
        "| too short for a verdict |",
        "| gpu | 1 | burnt |",
        "Nothing was measured: burnt.",
        "(peers.png)",
        "(soak.png)",
        "tritonserver 2",
        "abc1234",
    ):
        assert part in markdown
    assert markdown.count("(peers.png)") == 1
    assert raw["plots"] == ["peers.png", "soak.png"]


def test_a_part_says_again_only_what_is_its_own() -> None:
    section = part_section("# Title\n\n" + surroundings_section(SURROUNDINGS, {"steps": 4}) + "\n\n## Below\n")
    assert section == "## Title\n\n`./build.sh bench`\n\n- parameters: steps 4\n\n### Below"
