"""Starts are compared by their medians, and one can be timed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from checkpoint.random_checkpoint import make_checkpoint
from perf.compiled.start import Settings, main, section


@pytest.mark.parametrize(("seconds", "met"), [([4.0, 9.0, 5.0], True), ([9.0, 9.0, 1.0], False)])
def test_packages_may_cost_a_start_some_seconds(seconds: list[float], met: bool) -> None:
    made = section(Settings(), {"off": [1.0, 3.0, 2.0], "aot": seconds})
    assert [target.met for target in made.targets] == [met]
    assert "| eager | 2.00 |" in made.paragraphs[1]


def test_a_start_says_how_long_it_took(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_checkpoint(tmp_path / "tiny")
    main(json.dumps(["off", str(tmp_path), 1, str(tmp_path / "tiny"), True]))
    assert float(capsys.readouterr().out) > 0
