"""The same request gives the same image by each side, and a loop asks for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from perf.gpu.pipelines import made_pipeline
from perf.gpu.requests import Asked, FixedBatches, by_engine, by_pipeline, closed_loop, engine_of, levels, mixed
from tests.unit.perf.gpu.small_shapes import SMALL_SHAPES

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return made_pipeline(SMALL_SHAPES["SDXL"].architecture, CPU, torch.float32)


@pytest.fixture
def batches(pipeline: Any) -> Iterator[FixedBatches]:
    made = FixedBatches(pipeline, 4)
    yield made
    made.close()


def test_seven_of_ten_are_short_and_the_long_ones_are_spread() -> None:
    steps = [asked.steps for asked in mixed(20, 4, 28, 64)]
    assert steps.count(28) == 6
    assert steps[:10] == steps[10:]
    assert 28 not in steps[:3]


def test_all_sides_make_the_same_images(pipeline: Any, batches: FixedBatches) -> None:
    asked = mixed(6, 2, 4, 64)
    with engine_of(pipeline, CPU, 4) as engine:
        loops = [closed_loop(make, asked, 4) for make in (by_engine(engine), by_pipeline(pipeline), batches)]
    for loop in loops[1:]:
        assert max(levels(*pair)[0] for pair in zip(loops[0].frames, loop.frames, strict=True)) <= 1
    assert len({frame.tobytes() for frame in loops[0].frames}) == len(asked)
    assert all(loop.requests_per_s == pytest.approx(6 / loop.seconds) for loop in loops)


def test_a_batch_that_fails_fails_its_requests_and_the_next_goes_on(batches: FixedBatches) -> None:
    with pytest.raises(ValueError, match="divisible by"):
        batches(Asked(1, 2, 63))
    assert batches(Asked(1, 2, 64)).shape == (64, 64, 3)
