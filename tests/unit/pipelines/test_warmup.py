"""Warm-up is planned for every task at every configured size, and works for every family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imagegen.api.errors import InvalidArgument
from imagegen.engine import Engine, EngineSettings
from imagegen.pipelines.checkpoint import (
    EDITING,
    IMAGE_TO_IMAGE,
    INPAINTING,
    TEXT_TO_IMAGE,
    Pipelines,
    describe_pipelines,
)
from imagegen.pipelines.warmup import warmup_plans, warmup_sizes
from tests.unit import tiny_pipelines as tiny
from tests.unit.tiny_engine import SETTINGS, pipelines
from tests.unit.tiny_pipelines.control_networks import sd_net

ALL = {TEXT_TO_IMAGE, IMAGE_TO_IMAGE, INPAINTING}
FAMILIES: dict[str, tuple[Callable[[], Any], set[str]]] = {
    "sd": (tiny.sd, ALL),
    "sd inpainting, 9 channels": (lambda: tiny.sd_inpainting(9), {INPAINTING}),
    "sd upscaler": (tiny.sd_upscale, {IMAGE_TO_IMAGE}),
    "sd latent upscaler": (tiny.sd_latent_upscale, {IMAGE_TO_IMAGE}),
    "sd instructions": (tiny.sd_instruct, {EDITING}),
    "sdxl": (tiny.sdxl, ALL),
    "sdxl refiner": (tiny.sdxl_refiner, {IMAGE_TO_IMAGE, INPAINTING}),
    "sdxl instructions": (tiny.sdxl_instruct, {EDITING}),
    "sd3": (tiny.sd3, ALL),
    "flux": (tiny.flux, ALL),
    "flux kontext": (tiny.flux_kontext, {TEXT_TO_IMAGE, EDITING}),
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
        assert set(engine.pipelines.tasks) == tasks


def fails(pipeline: Any, error: Exception) -> Any:
    """The same pipeline, of a class whose call raises."""

    class FailingPipeline(type(pipeline)):  # type: ignore[misc]
        def __call__(self, **_: Any) -> None:
            raise error

    pipeline.__class__ = FailingPipeline
    return pipeline


def test_a_derived_task_that_cannot_be_done_is_not_offered(caplog: pytest.LogCaptureFixture) -> None:
    """Of many a class diffusers derives pipelines that take images in another form, or none at all."""
    described = describe_pipelines(tiny.sd(), SETTINGS, torch.device("cpu"))
    fails(described.tasks[IMAGE_TO_IMAGE].pipeline, TypeError("image has to be a PIL image"))
    with Engine(EngineSettings(model="tiny", warmup_sizes=("32x32", "48x48")), pipelines=described) as engine:
        engine.warm_up()
        assert set(engine.pipelines.tasks) == {TEXT_TO_IMAGE, INPAINTING}
        with pytest.raises(InvalidArgument, match="does no image-to-image"):
            engine.generate("x", images=np.zeros((32, 32, 3), np.uint8))
    assert "no image-to-image: FailingPipeline failed in the warm-up" in caplog.text


def test_a_task_that_is_not_offered_is_not_warmed_up_with_controls_either(tmp_path: Path) -> None:
    """It ended the start: the plan of the dropped task was refused as a request would be."""
    sd_net().save_pretrained(tmp_path / "canny")
    settings = EngineSettings(model="tiny", controlnets=("canny=canny",))
    described = describe_pipelines(tiny.sd(), settings, torch.device("cpu"), tmp_path)
    fails(described.tasks[INPAINTING].pipeline, TypeError("image has to be a PIL image"))
    with Engine(settings, pipelines=described) as engine:
        engine.warm_up()
        tasks = engine.pipelines.description().tasks
        assert set(tasks) == {TEXT_TO_IMAGE, IMAGE_TO_IMAGE}
        assert all("control_image" in takes for takes in tasks.values())


def test_a_checkpoint_whose_own_task_fails_is_refused_by_its_class() -> None:
    described = describe_pipelines(tiny.sd(), SETTINGS, torch.device("cpu"))
    fails(described.tasks[TEXT_TO_IMAGE].pipeline, TypeError("image has to be a PIL image"))
    with (
        Engine(SETTINGS, pipelines=described) as engine,
        pytest.raises(
            ValueError,
            match=r"FailingPipeline is not served: its text-to-image failed in the warm-up: TypeError",
        ),
    ):
        engine.warm_up()


@pytest.mark.parametrize("error", [MemoryError("no room"), torch.OutOfMemoryError("no room")])
def test_a_device_that_fails_in_the_warm_up_is_no_matter_of_the_task(error: Exception) -> None:
    described = describe_pipelines(tiny.sd(), SETTINGS, torch.device("cpu"))
    fails(described.tasks[IMAGE_TO_IMAGE].pipeline, error)
    with Engine(SETTINGS, pipelines=described) as engine, pytest.raises(type(error), match="no room"):
        engine.warm_up()


def test_the_checkpoints_own_task_at_each_size_and_each_other_once_at_the_smallest() -> None:
    plans = list(warmup_plans(pipelines(), SETTINGS, ["64x64", "32x64"]))
    assert [(plan.task, plan.size) for plan in plans] == [
        (TEXT_TO_IMAGE, (64, 64)),
        (TEXT_TO_IMAGE, (32, 64)),
        (IMAGE_TO_IMAGE, (32, 64)),
        (INPAINTING, (32, 64)),
    ]
    for plan in plans:
        assert (plan.images is None) == (plan.task == TEXT_TO_IMAGE)
        assert (plan.mask is None) == (plan.task != INPAINTING)
        assert plan.num_inference_steps == plan.expected_calls == 2


@pytest.mark.parametrize(
    ("device", "native", "sizes"),
    [
        ("cuda", (1024, 512), [(1024, 512)]),
        ("cpu", (1024, 512), [(64, 64), (256, 256)]),
        ("cpu", (128, 128), [(64, 64), (128, 128)]),
        ("cpu", (32, 32), [(32, 32)]),
    ],
)
def test_with_none_named_it_is_the_native_size_or_on_a_cpu_what_costs_little(
    device: str, native: tuple[int, int], sizes: list[tuple[int, int]]
) -> None:
    """A large model took minutes of a CPU before it served."""
    described = replace(pipelines(), device=torch.device(device), native_size=native)
    assert warmup_sizes(described, SETTINGS, []) == sizes
    assert warmup_sizes(described, SETTINGS, ["none"]) == []
    assert list(warmup_plans(described, SETTINGS, ["none"])) == []


@pytest.mark.parametrize("size", ["64", "64x", "ax64", "64x64x64"])
def test_a_malformed_size_is_named(size: str) -> None:
    with pytest.raises(ValueError, match=f"warmup_sizes: '{size}' is not WxH"):
        warmup_sizes(pipelines(), SETTINGS, [size])


def test_a_size_above_the_limits_is_refused() -> None:
    with pytest.raises(ValueError, match=r'^parameter warmup_sizes: .*"4096x64" is not allowed'):
        warmup_sizes(pipelines(), SETTINGS, ["4096x64"])
