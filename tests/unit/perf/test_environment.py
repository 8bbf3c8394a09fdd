"""Where and with what was measured."""

from __future__ import annotations

import re
from pathlib import Path

from perf import environment


def test_the_processor_is_named_as_the_kernel_does(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Abacus 9000\ncache size\t: 1 KB\nmodel name\t: other\n")
    assert environment.cpu_model(cpuinfo) == "Abacus 9000"


def test_a_processor_without_a_name_has_its_architecture(tmp_path: Path) -> None:
    assert environment.cpu_model(tmp_path / "missing")


def test_results_go_to_a_folder_of_their_day_and_commit(tmp_path: Path) -> None:
    """Those of the start: both may change while it measures."""
    folder = environment.results_folder({"date": "2026-11-21 23:59 UTC", "commit": "abc1234"}, tmp_path)
    assert folder == tmp_path / "perf" / "results" / "2026-11-21-abc1234"


def test_the_commit_is_short_or_unknown() -> None:
    assert re.fullmatch(r"unknown|[0-9a-f]{7,}(-changed)?", environment.commit())
