"""The report is read from locust's files as locust writes them."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from perf.locust_report import locust_report
from perf.report import write_results

SURROUNDINGS: dict[str, Any] = {"cpu": "abacus, 2 beads", "command": "python -m perf", "versions": {"locust": "2"}}
STATS = ("Type", "Name", "Request Count", "Failure Count", "Requests/s", "50%", "95%", "99%", "100%")
HISTORY = ("Timestamp", "User Count", "Type", "Name", "Requests/s", "50%", "95%")
FAILURES = ("Method", "Name", "Error", "Occurrences")


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    written = tmp_path / "locust"
    write(written, "stats", STATS, ("gRPC", "text-to-image, short", 9, 1, 1.5, 80, 90, 95, 120))
    write(written, "stats", STATS, ("", "Aggregated", 9, 1, 1.5, 80, 90, 95, 120))
    for second in range(40):
        write(written, "stats_history", HISTORY, (1000 + second, second, "", "Aggregated", 1.0, "N/A", 90))
    write(written, "failures", FAILURES)
    return written


def write(prefix: Path, part: str, columns: Sequence[str], *lines: Sequence[object]) -> None:
    path = prefix.with_name(f"{prefix.name}_{part}.csv")
    known = path.exists()
    with path.open("a", newline="") as file:
        csv.writer(file).writerows([*([] if known else [columns]), *lines])


def test_the_report_has_all_its_parts(prefix: Path) -> None:
    markdown, raw = locust_report(SURROUNDINGS, {"users": 3}, prefix)
    for part in (
        "abacus, 2 beads",
        "users 3",
        "| gRPC: text-to-image, short | 9 | 1 | 80.00 | 90.00 | 95.00 | 120 | 1.50 |",
        "| all | 9 | 1 |",
        "| 36 | 36 | 1.00 | none | 90.00 |",
        "None.",
    ):
        assert part in markdown
    assert len(raw["history"]) == 40
    _, data = write_results(prefix.parent, "locust_load", markdown, raw)
    assert json.loads(data.read_text())["stats"][0]["Failure Count"] == "1"


def test_the_table_over_time_stays_short(prefix: Path) -> None:
    markdown, _ = locust_report(SURROUNDINGS, {}, prefix)
    over_time = markdown.partition("## Over time")[2].partition("## ")[0]
    assert 2 + 10 <= sum(line.startswith("|") for line in over_time.splitlines()) <= 2 + 12


def test_failures_are_listed_by_kind(prefix: Path) -> None:
    write(prefix, "failures", FAILURES, ("HTTP", "inpainting, long", "wrong size", 3))
    markdown, raw = locust_report(SURROUNDINGS, {}, prefix)
    assert "| HTTP: inpainting, long | wrong size | 3 |" in markdown
    assert "None." not in markdown
    assert raw["failures"][0]["Error"] == "wrong size"
    assert not any(math.isnan(value) for value in raw["parameters"].values())
