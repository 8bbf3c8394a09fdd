"""The whole program with scaled-down models on the CPU: it measures all, once, and says what is right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from perf.gpu import engine_points, forwards
from perf.gpu.__main__ import Settings, main, run
from tests.unit.perf.gpu.small_shapes import SMALL_SHAPES

SMALL = Settings(
    seconds=120,
    models=("SDXL", "Flux"),
    compiled=(),
    correct_side_px=64,
    rows=16,
    forwards=forwards.Settings(sides_px=(64,), images=(1, 2), repeats=1),
    engine=engine_points.Settings(side_px=64, clients=2, requests=2, rounds=1, long_steps=6, overhead_steps=2),
)


def test_all_is_measured_once(tmp_path: Path) -> None:
    outcome = run(tmp_path, SMALL, SMALL_SHAPES, torch.device("cpu"), torch.float32)
    assert outcome.section is not None
    assert outcome.section.faults == []
    text = "\n".join(outcome.section.paragraphs)
    for part in ("Right or wrong", "| Flux, eager |", "| SDXL 64², diffusers, batches", "### Closed loops"):
        assert part in text
    verdicts = {target.meaning: target.met for target in outcome.section.targets}
    assert verdicts["SDXL 64²: mixed, alone and by diffusers the same within 1 level on average"]
    assert verdicts["Flux 64²: a cancelled request leaves within 1 s, the next image is right"] is not None
    written = (tmp_path / "gpu.jsonl").read_text()
    again = run(tmp_path, replace(SMALL, seconds=0.0), SMALL_SHAPES, torch.device("cpu"), torch.float32)
    assert (tmp_path / "gpu.jsonl").read_text() == written
    assert again.section is not None
    assert again.section.raw["points"] == outcome.section.raw["points"]


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([]) == 2
    assert "there is no GPU here" in capsys.readouterr().err


def test_an_unknown_model_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["SD 9"])
    assert "unknown models: SD 9; there are SD 1.5, SDXL, Flux, Qwen-Image" in capsys.readouterr().err
