"""Before a model is ready it has drawn every task it offers, at every configured size, or its load has failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from imagegen.api.errors import InvalidArgument
from imagegen.engine.generator import Generator
from imagegen.engine.metrics import Measures
from imagegen.engine.pipeline_call import Drawing
from imagegen.engine.settings import DiffusionSettings
from imagegen.engine.warmup import warm_up, warmup_sizes
from imagegen.pipelines.checkpoint import IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE, describe_pipelines
from imagegen.pipelines.plan import Plan
from tests.unit import tiny_pipelines as tiny

CPU = torch.device("cpu")
SETTINGS = DiffusionSettings(model="tiny", max_batch_rows=8)
ALL = {TEXT_TO_IMAGE, IMAGE_TO_IMAGE, INPAINTING}
FAMILIES: dict[str, tuple[Callable[[], Any], set[str]]] = {
    "sd": (tiny.sd, ALL),
    "sd inpainting, 9 channels": (lambda: tiny.sd_inpainting(9), {INPAINTING}),
    "sdxl": (tiny.sdxl, ALL),
    "sd3": (tiny.sd3, ALL),
    "flux": (tiny.flux, ALL),
    "pixart-sigma": (tiny.pixart_sigma, {TEXT_TO_IMAGE}),
    "sana": (tiny.sana, {TEXT_TO_IMAGE}),
    "lumina2": (tiny.lumina2, {TEXT_TO_IMAGE}),
    "qwen-image": (tiny.qwen_image, ALL),
    "z-image": (tiny.z_image, ALL),
}


def draw_nothing(plans: list[Plan]) -> Callable[[Plan], Sequence[Drawing]]:
    """Notes the plans; every image takes two rows a forward."""

    def draw(plan: Plan) -> Sequence[Drawing]:
        plans.append(plan)
        return [Drawing(None, 0, 0, 0, forwards=2, batch_rows=4) for _ in plan.seeds]  # type: ignore[arg-type]

    return draw


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_draws_every_task_it_offers(family: str) -> None:
    make, tasks = FAMILIES[family]
    offers = describe_pipelines(make(), SETTINGS, CPU)
    assert set(offers.tasks) == tasks
    offers = replace(offers, native_size=(64, 64))  # a multiple of every family's granularity
    generator = Generator(SETTINGS, offers, Measures(lambda *_: _Ignored(), offers.caches, CPU))
    try:
        generator.warm_up()
    finally:
        generator.close()


def test_each_task_at_each_size_and_each_row_bucket() -> None:
    settings = replace(SETTINGS, warmup_sizes=("32x64", "64x64"), row_buckets=(2, 8))
    offers = describe_pipelines(tiny.sd(), settings, CPU)
    plans: list[Plan] = []
    warm_up(offers, settings, draw_nothing(plans))
    drawn = [(plan.task, plan.size, len(plan.seeds)) for plan in plans]
    assert sorted(drawn) == sorted(
        (task, size, images) for task in ALL for size in ((32, 64), (64, 64)) for images in (1, 1, 4)
    )


def test_the_native_size_when_none_is_named_and_nothing_when_told_so() -> None:
    offers = describe_pipelines(tiny.sd(), SETTINGS, CPU)
    assert warmup_sizes(offers, SETTINGS) == [offers.native_size]
    assert warmup_sizes(offers, replace(SETTINGS, warmup_sizes=("none",))) == []


@pytest.mark.parametrize("size", ["64", "64x", "ax64", "64x64x64"])
def test_a_malformed_size_is_named(size: str) -> None:
    offers = describe_pipelines(tiny.sd(), SETTINGS, CPU)
    with pytest.raises(ValueError, match="warmup_sizes"):
        warmup_sizes(offers, replace(SETTINGS, warmup_sizes=(size,)))


def test_a_size_above_the_caps_is_refused() -> None:
    offers = describe_pipelines(tiny.sd(), SETTINGS, CPU)
    with pytest.raises(InvalidArgument, match="4096x64"):
        warmup_sizes(offers, replace(SETTINGS, warmup_sizes=("4096x64",)))


def test_a_image_that_fails_fails_the_warmup() -> None:
    offers = describe_pipelines(tiny.sd(), SETTINGS, CPU)
    offers.tasks[TEXT_TO_IMAGE].pipeline.unet.conv_in.weight = None
    generator = Generator(SETTINGS, offers, Measures(lambda *_: _Ignored(), offers.caches, CPU))
    try:
        with pytest.raises(TypeError, match="conv2d"):
            generator.warm_up()
    finally:
        generator.close()


class _Ignored:
    def increment(self, value: float) -> None: ...
    def set(self, value: float) -> None: ...
    def observe(self, value: float) -> None: ...
