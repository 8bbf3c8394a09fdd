"""Forwards that ranks share are parted, packed and joined on the device, which nobody waits for."""

from __future__ import annotations

from typing import Any, cast

import pytest

from imagegen.engine.ranks.rank_group import RankGroup
from tests.accelerator import Kind, engine_on_device
from tests.on_accelerator.costs import cost_of
from tests.on_accelerator.families import SIZE, denoiser, engine_of, on_cpu, on_device, together
from tests.unit.engine.ranks.parts import Parts
from tests.unit.tiny_engine import SETTINGS, levels

REQUESTS: list[dict[str, Any]] = [
    {"size": SIZE, "seed": 7, "num_inference_steps": 4, "n": 2},
    {"size": SIZE, "seed": 8, "num_inference_steps": 3, "prompt": "a small blue boat on the sea"},
]


@pytest.mark.parametrize("family", ["sd", "flux", "qwen-image", "z-image"])
def test_the_images_are_those_of_the_cpu_and_no_rank_is_waited_for_by_a_copy(family: str) -> None:
    there = on_device(family)
    with engine_on_device(there, SETTINGS, ranks=cast(RankGroup, Parts())) as engine:
        results, _ = together(engine, REQUESTS)
        cost = cost_of(engine, denoiser(there), size=SIZE)
    with engine_of(on_cpu(family)) as engine:
        expected, _ = together(engine, REQUESTS)
    for result, other in zip(results, expected, strict=True):
        assert result.frames.std() > 1
        assert levels(result.frames, other.frames) <= 1
    assert not cost.tick[Kind.SYNCHRONISATION]
    assert not cost.tick[Kind.TO_HOST]
