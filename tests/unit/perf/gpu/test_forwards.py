"""Forwards are timed at every size and batch, and those that are known are not timed again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from perf.gpu.forwards import EAGER, Settings, time_forwards
from perf.gpu.journal import Journal
from tests.unit.perf.gpu.small_shapes import SMALL_SHAPES

SETTINGS = Settings(sides_px=(32,), images=(1, 2), repeats=1)
CPU = torch.device("cpu")


@pytest.mark.parametrize("name", SMALL_SHAPES)
def test_every_shape_is_timed_at_every_batch(name: str, tmp_path: Path) -> None:
    shape, journal = SMALL_SHAPES[name], Journal(tmp_path / "points", 60)
    denoiser, vae = shape.make_denoiser(CPU, torch.float32), shape.make_vae(CPU, torch.float32)
    time_forwards(journal, name, shape, denoiser, vae, SETTINGS, EAGER)
    points = dict(journal.of("forward"))
    assert list(points) == [(name, EAGER, "32", "1"), (name, EAGER, "32", "2")]
    one, two = points.values()
    assert two["flops"] == 2 * one["flops"] > 0
    assert one["step_s"] > 0 < one["decode_s"]
    assert one["weight_bytes"] == sum(parameter.nbytes for parameter in denoiser.parameters())
    assert journal.faults() == []


def test_a_batch_without_memory_is_the_last_of_its_size(tmp_path: Path) -> None:
    class Full(torch.nn.Linear):
        def forward(self, **inputs: object) -> torch.Tensor:  # type: ignore[override]
            raise torch.OutOfMemoryError

    journal = Journal(tmp_path / "points", 60)
    time_forwards(journal, "SD 1.5", SMALL_SHAPES["SD 1.5"], Full(2, 2), None, SETTINGS, EAGER)
    assert [key for key in journal.points] == ["forward/SD 1.5/eager/32/1"]
    assert journal.faults() == []
