"""The measuring runs with scaled-down architectures on the CPU, and its table says what was measured."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from perf.gpu.measure import Settings, Timed, section, time_shape
from tests.unit.perf.gpu.small_shapes import SMALL_SHAPES

SETTINGS = Settings(sides_px=(32,), images=(1, 2), repeats=1)


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
    timed = list(time_shape(name, SMALL_SHAPES[name], torch.device("cpu"), SETTINGS, False, torch.float32))
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
    found = section(SETTINGS, timed, 100.0)
    lines = [line for line in found.paragraphs[-1].splitlines() if line.startswith("| Flux")]
    assert lines == [
        "| Flux | 512x512 | 1 | 100 | 0.00 | 2.80 | 1.00 | 1 | 10.00 |",
        "| Flux | 512x512 | 4 | 200 | 0.00 | 1.40 | 2.00 | 4 | 20.00 |",
        "| Flux, compiled | 512x512 | 1 | 50.00 | 0.00 | 1.40 | 1.00 | 1 | 20.00 |",
    ]
    assert len(found.raw["timed"]) == 3


def test_without_a_gpu_the_report_says_so() -> None:
    found = section(SETTINGS, [], None)
    assert "No GPU here" in found.paragraphs[-1]
    assert found.raw["timed"] == []
