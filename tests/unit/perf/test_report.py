"""Reports hold what was measured, say whether targets were met, and their JSON is valid."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from perf.report import Outcome, Section, Target, markdown_report, table, write_report

ENVIRONMENT: dict[str, Any] = {"cpu": "abacus, 2 beads", "command": "python -m perf", "versions": {"torch": "2"}}


@dataclass(frozen=True)
class Settings:
    rounds: int = 3


def section(**changed: Any) -> Section:
    values: dict[str, Any] = {"title": "Stages", "settings": Settings(), "paragraphs": ["It is quick."], "raw": {}}
    return Section(**values | changed)


def test_a_table_has_as_many_cells_in_each_line() -> None:
    lines = table(("server", "ms", "n"), [("ours", 12.344, 3), ("none", math.nan, 0), ("slow", 1234.5, 1)]).splitlines()
    assert lines == [
        "| server | ms | n |",
        "| --- | ---: | ---: |",
        "| ours | 12.34 | 3 |",
        "| none | none | 0 |",
        "| slow | 1234 | 1 |",
    ]


def test_targets_of_all_parts_come_first() -> None:
    targets = [Target("under 4 ms", "3 ms", True), Target("under 1 ms", "3 ms", False), Target("a soak", "", None)]
    made = section(targets=targets, versions={"tritonserver": "2.51.0"})
    text = markdown_report(ENVIRONMENT, [Outcome("stages", 1.4, made), Outcome("soak", 2.0, None, "OSError: no disk")])
    for part in (
        "- cpu: abacus, 2 beads",
        "- versions: torch 2, tritonserver 2.51.0",
        "| under 4 ms | 3 ms | met |",
        "| under 1 ms | 3 ms | NOT met |",
        "| a soak |  | too little was measured |",
        "| stages | 1 | done |",
        "| soak | 2 | OSError: no disk |",
        "## Stages\n\nSettings: rounds 3.\n\nIt is quick.",
    ):
        assert part in text


def test_a_wrong_result_fails_its_part() -> None:
    wrong = Outcome("stages", 1.0, section(faults=["another image"]))
    assert wrong.failed
    assert "- another image" in markdown_report(ENVIRONMENT, [wrong])
    assert not Outcome("stages", 1.0, section()).failed
    assert Outcome("stages", 1.0, None, "lost").failed


def test_report_numbers_and_plot_are_written(tmp_path: Path) -> None:
    made = section(raw={"forward_s": {16: 0.02}, "p50": math.nan}, plot=("A plot.", Figure()))
    folder = tmp_path / "new" / "folder"
    markdown, files = write_report(folder, "report", ENVIRONMENT, [Outcome("stages", 1.0, made)])
    assert [file.name for file in files] == ["report.md", "report.json", "stages.png"]
    assert "![A plot.](stages.png)" in (folder / "report.md").read_text() == markdown
    stages = json.loads((folder / "report.json").read_text())["parts"]["stages"]
    assert (stages["forward_s"], stages["p50"], stages["settings"]) == ({"16": 0.02}, None, {"rounds": 3})
    with Image.open(folder / "stages.png") as image:
        assert image.format == "PNG"
