"""Warm-up is planned for every task at every configured size, and works for every family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from imagegen.api.errors import InvalidArgument
from imagegen.engine import Engine, EngineSettings
from imagegen.pipelines.checkpoint import IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE, Pipelines, describe_pipelines
from imagegen.pipelines.warmup import warmup_plans, warmup_sizes
from tests.unit import tiny_pipelines as tiny
from tests.unit.tiny_engine import SETTINGS, pipelines

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


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_warmed_up_for_all_that_it_does(family: str) -> None:
    make, tasks = FAMILIES[family]
    described: Pipelines = describe_pipelines(make(), SETTINGS, torch.device("cpu"))
    described = replace(described, native_size=(64, 64))  # a multiple of every family's granularity
    assert {plan.task for plan in warmup_plans(described, SETTINGS, [])} == tasks
    with Engine(EngineSettings(model="tiny", max_batch_rows=8), pipelines=described) as engine:
        engine.warm_up()
        assert engine.active_requests == 0


def test_each_task_at_each_size() -> None:
    plans = list(warmup_plans(pipelines(), SETTINGS, ["32x64", "64x64"]))
    assert sorted((plan.task, plan.size) for plan in plans) == sorted(
        (task, size) for task in ALL for size in ((32, 64), (64, 64))
    )
    for plan in plans:
        assert (plan.images is None) == (plan.task == TEXT_TO_IMAGE)
        assert (plan.mask is None) == (plan.task != INPAINTING)
        assert plan.num_inference_steps == plan.expected_calls == 2


def test_the_native_size_when_none_is_named_and_none_when_configured_so() -> None:
    assert warmup_sizes(pipelines(), SETTINGS, []) == [pipelines().native_size]
    assert warmup_sizes(pipelines(), SETTINGS, ["none"]) == []


@pytest.mark.parametrize("size", ["64", "64x", "ax64", "64x64x64"])
def test_a_malformed_size_is_named(size: str) -> None:
    with pytest.raises(ValueError, match=f"warmup_sizes: '{size}' is not WxH"):
        warmup_sizes(pipelines(), SETTINGS, [size])


def test_a_size_above_the_limits_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="4096x64"):
        warmup_sizes(pipelines(), SETTINGS, ["4096x64"])
