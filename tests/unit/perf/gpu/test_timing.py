"""The measuring runs with scaled-down architectures on the CPU, and its table says what was measured."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from perf.gpu.shapes import SMALL_SHAPES
from perf.gpu.shapes_report import shapes_report
from perf.gpu.timing import Timed, time_shape

SURROUNDINGS = {"cpu": "abacus, 2 beads", "command": "python -m perf.gpu", "versions": {"torch": "2"}}


@pytest.fixture
def one_thread() -> Iterator[None]:
    """On a busy machine more of them wait for each other for seconds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", SMALL_SHAPES)
def test_every_shape_is_timed_at_every_batch(name: str) -> None:
    timed = list(time_shape(name, SMALL_SHAPES[name], torch.device("cpu"), (32,), (1, 2), False, 1, torch.float32))
    assert [(one.model, one.side_px, one.images) for one in timed] == [(name, 32, 1), (name, 32, 2)]
    assert timed[1].flops == 2 * timed[0].flops > 0
    for one in timed:
        assert one.image_s == pytest.approx((SMALL_SHAPES[name].steps * one.step_s + one.decode_s) / one.images)


def test_the_table_has_gain_and_share_of_the_limit() -> None:
    timed = [
        Timed("Flux", False, 512, 1, 0.1, 0.0, 2.8, 10**12),
        Timed("Flux", False, 512, 4, 0.2, 0.0, 1.4, 4 * 10**12),
        Timed("Flux", True, 512, 1, 0.05, 0.0, 1.4, 10**12),
    ]
    markdown, raw = shapes_report(SURROUNDINGS, {}, timed, 100.0)
    lines = [line for line in markdown.splitlines() if line.startswith("| Flux")]
    assert lines == [
        "| Flux | 512x512 | 1 | 100 | 0.00 | 2.80 | 1.00 | 1 | 10.00 |",
        "| Flux | 512x512 | 4 | 200 | 0.00 | 1.40 | 2.00 | 4 | 20.00 |",
        "| Flux, compiled | 512x512 | 1 | 50.00 | 0.00 | 1.40 | 1.00 | 1 | 20.00 |",
    ]
    assert len(raw["timed"]) == 3


def test_without_a_gpu_the_report_says_so() -> None:
    markdown, raw = shapes_report(SURROUNDINGS, {}, [], None)
    assert "No GPU here" in markdown
    assert raw["timed"] == []
