"""The command prints and saves predictions, says that they are none but that, and what was assumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perf.predict import __main__ as command
from tests.unit.perf.gpu.small_shapes import SMALL_SHAPES

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "SHAPES", {"Flux": SMALL_SHAPES["Flux"]})
    monkeypatch.setattr(command, "SIDES_PX", (64,))
    monkeypatch.setattr(command, "REQUESTS", (1, 2))


def test_it_prints_what_it_saves(tmp_path: Path, capsys: Captured) -> None:
    assert command.main(["--out", str(tmp_path / "new"), "--launch-us", "7.5"]) == 0
    text = (tmp_path / "new" / "predict.md").read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    assert text.startswith("# Predicted, not measured\n")
    assert "| microseconds of the host for a launch, Python included | 7.5 |" in text
    assert "H100 989 TFLOP/s and 3.35 TB/s, H200 989 TFLOP/s and 4.8 TB/s" in text
    rows = [line for line in text.splitlines() if "| Flux |" in line]
    assert len(rows) == 4
    saved = json.loads((tmp_path / "new" / "predict.json").read_text())
    assert saved["assumptions"]["launch_us"] == 7.5
    assert [(one["device"], one["requests"]) for one in saved["predictions"]] == [
        ("H100", 1),
        ("H200", 1),
        ("H100", 2),
        ("H200", 2),
    ]
    for one in saved["predictions"]:
        assert 0 <= one["graphs"]["idle_share"] <= one["eager"]["idle_share"] < 1
        assert one["graphs"]["images_per_s"] >= one["eager"]["images_per_s"] > 0


def test_an_assumption_that_cannot_be_is_one_line(tmp_path: Path, capsys: Captured) -> None:
    assert command.main(["--flops-share", "2", "--out", str(tmp_path / "new")]) == 2
    assert capsys.readouterr().err == "perf.predict: flops_share: 2.0 is not allowed; it is above 0, up to 1\n"
    assert not (tmp_path / "new").exists()
