"""What a checkpoint can do is read off its pipeline: tasks, sizes, defaults, schedulers; with one set of weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline, DiffusionPipeline

from checkpoint.random_checkpoint import make_checkpoint
from imagegen.pipelines.checkpoint import (
    EDITING,
    IMAGE_TO_IMAGE,
    INPAINTING,
    TEXT_TO_IMAGE,
    Pipelines,
    describe_pipelines,
    load_pipelines,
)
from imagegen.pipelines.settings import PipelineSettings
from tests.unit import tiny_pipelines as tiny

CPU = torch.device("cpu")
ALL_TASKS = {TEXT_TO_IMAGE, IMAGE_TO_IMAGE, INPAINTING}


def described(base: Any, **settings: Any) -> Pipelines:
    return describe_pipelines(base, PipelineSettings(model="folder/tiny", **settings), CPU)


@pytest.mark.parametrize(
    ("make", "tasks", "native_size"),
    [
        (tiny.sd, ALL_TASKS, (32, 32)),
        (tiny.sdxl, ALL_TASKS, (32, 32)),
        (tiny.sd3, ALL_TASKS, (32, 32)),
        (tiny.flux, ALL_TASKS, (256, 256)),  # 128 latents a side, whatever the transformer
        (tiny.qwen_image, ALL_TASKS, (256, 256)),
        (tiny.pixart_sigma, {TEXT_TO_IMAGE}, (32, 32)),
        (tiny.sana, {TEXT_TO_IMAGE}, (16, 16)),
    ],
)
def test_tasks_and_native_size_come_from_the_pipeline(make: Any, tasks: set[str], native_size: tuple[int, int]) -> None:
    pipelines = described(make())
    assert set(pipelines.tasks) == tasks
    assert pipelines.native_size == native_size
    assert pipelines.device == CPU
    assert pipelines.name == "tiny"


def test_a_transformers_patch_counts_towards_the_granularity() -> None:
    factor = tiny.flux().vae_scale_factor
    assert described(tiny.flux()).granularity_px == 2 * factor
    assert described(tiny.pixart_sigma()).granularity_px == 2 * factor


@pytest.mark.parametrize("make", [tiny.sd, tiny.sd_image_to_image, tiny.sd_inpainting])
def test_whatever_task_a_checkpoint_was_saved_for_it_does_all_three(make: Any) -> None:
    pipelines = described(make())
    assert set(pipelines.tasks) == ALL_TASKS
    assert "mask_image" in pipelines.tasks[INPAINTING].accepts
    assert "strength" in pipelines.tasks[IMAGE_TO_IMAGE].accepts
    assert "image" not in pipelines.tasks[TEXT_TO_IMAGE].accepts


def test_a_denoiser_that_sees_the_mask_does_inpainting_alone() -> None:
    assert set(described(tiny.sd_inpainting(9)).tasks) == {INPAINTING}


@pytest.mark.parametrize(
    ("make", "tasks"),
    [
        (tiny.sd_upscale, {IMAGE_TO_IMAGE}),
        (tiny.sd_latent_upscale, {IMAGE_TO_IMAGE}),
        (tiny.sd_instruct, {EDITING}),
        (tiny.sdxl_instruct, {EDITING}),
        (tiny.sdxl_refiner, {IMAGE_TO_IMAGE, INPAINTING}),  # trained for the last steps: never from text
        (tiny.flux_kontext, {TEXT_TO_IMAGE, EDITING}),  # its reference may be left out
    ],
)
def test_a_checkpoint_that_starts_from_images_does_no_more_than_it_can(make: Any, tasks: set[str]) -> None:
    assert set(described(make()).tasks) == tasks


def test_an_upscalers_sides_are_multiples_of_what_its_input_needs() -> None:
    pipelines = described(tiny.sd_upscale())
    assert (pipelines.upscaling, pipelines.granularity_px, pipelines.native_size) == (2, 16, (32, 32))


def test_a_scheduler_whose_sigmas_the_pipeline_computes_with_cannot_be_replaced() -> None:
    pipelines = described(tiny.sd_latent_upscale())
    assert pipelines.schedulers == {}
    assert pipelines.scheduler_name == "euler"


def test_the_description_is_what_requests_depend_on() -> None:
    described_inpainting = described(tiny.sd_inpainting(9)).description()
    assert described_inpainting.tasks == {INPAINTING: ("negative_prompt", "guidance_scale", "strength")}
    assert (described_inpainting.model, described_inpainting.native_size) == ("tiny", "32x32")
    assert (described_inpainting.scheduler, described_inpainting.previews) == ("ddim", False)
    assert "euler" in described_inpainting.schedulers
    assert described(tiny.sd_instruct()).description().tasks == {EDITING: ("negative_prompt", "guidance_scale")}
    assert described(tiny.flux(guidance_embeds=False)).description().tasks[TEXT_TO_IMAGE] == (
        "negative_prompt",
        "guidance_scale",
    )


def test_all_tasks_share_one_set_of_weights() -> None:
    base = tiny.sd()
    weights = {name: getattr(base, name) for name in ("unet", "vae", "text_encoder")}
    for task in described(base).tasks.values():
        for name, module in weights.items():
            assert getattr(task.pipeline, name) is module


def test_defaults_are_those_of_the_pipelines_own_call() -> None:
    pipelines = described(tiny.sd())
    assert pipelines.tasks[TEXT_TO_IMAGE].defaults["num_inference_steps"] == 50
    assert pipelines.tasks[TEXT_TO_IMAGE].defaults["guidance_scale"] == 7.5
    assert pipelines.tasks[IMAGE_TO_IMAGE].defaults["strength"] == 0.8
    assert {"prompt", "negative_prompt", "generator", "output_type"} <= pipelines.tasks[TEXT_TO_IMAGE].accepts
    assert "self" not in pipelines.tasks[TEXT_TO_IMAGE].accepts


def test_the_checkpoints_own_scheduler_is_known_by_its_public_name() -> None:
    base = tiny.sd()
    pipelines = described(base)
    assert pipelines.scheduler_name == "ddim"
    assert pipelines.schedulers["ddim"] is base.scheduler
    assert described(tiny.flux()).scheduler_name == "euler"


def test_a_scheduler_without_public_name_is_known_by_its_class() -> None:
    from diffusers import KDPM2DiscreteScheduler

    base = tiny.sd()
    base.scheduler = KDPM2DiscreteScheduler.from_config(base.scheduler.config)
    pipelines = described(base)
    assert pipelines.scheduler_name == "KDPM2DiscreteScheduler"
    assert "euler" in pipelines.schedulers


def test_the_native_size_can_be_set() -> None:
    assert described(tiny.sd(), native_size_px=(64, 48)).native_size == (64, 48)


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (tiny.sd, "guidance_scale"),
        (tiny.flux, "guidance_scale"),
        (lambda: tiny.flux(guidance_embeds=False), "true_cfg_scale"),
        (tiny.qwen_image, "true_cfg_scale"),
    ],
)
def test_guidance_goes_where_the_model_heeds_it(make: Callable[[], Any], argument: str) -> None:
    assert described(make()).tasks[TEXT_TO_IMAGE].guidance_argument == argument


def test_no_task_shows_a_progress_bar() -> None:
    for task in described(tiny.sd()).tasks.values():
        assert task.pipeline._progress_bar_config == {"disable": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("model") / "checkpoint"
    make_checkpoint(made)
    return made


def test_a_relative_checkpoint_starts_at_the_given_folder(folder: Path) -> None:
    pipelines = load_pipelines(PipelineSettings(), folder.parent, "cpu")
    assert (pipelines.name, pipelines.native_size, pipelines.granularity_px) == ("checkpoint", (128, 128), 8)
    assert set(pipelines.tasks) == ALL_TASKS
    assert pipelines.device == CPU


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("auto", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16), ("float32", torch.float32)],
)
def test_weights_have_the_dtype_of_the_settings(folder: Path, dtype: str, expected: torch.dtype) -> None:
    settings = PipelineSettings.model_validate({"model": str(folder), "dtype": dtype})
    pipelines = load_pipelines(settings, Path("elsewhere"), "cpu")
    assert pipelines.tasks[TEXT_TO_IMAGE].pipeline.unet.dtype == expected


def test_a_checkpoint_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(ValueError, match=f"parameter model: {missing} is neither a folder that is there nor a hub id"):
        load_pipelines(PipelineSettings(model=str(missing)), tmp_path, "cpu")


def test_a_hub_id_is_downloaded_and_keeps_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def download(model: str, **options: Any) -> str:
        asked.append((model, options))
        return str(folder)

    monkeypatch.setattr(DiffusionPipeline, "download", download)
    pipelines = load_pipelines(PipelineSettings(model="org/name", revision="v1"), Path("elsewhere"), "cpu")
    assert asked == [("org/name", {"revision": "v1", "variant": None})]
    assert (pipelines.name, set(pipelines.tasks)) == ("name", ALL_TASKS)


def test_a_pipeline_that_no_request_can_use_is_refused_by_its_class() -> None:
    with pytest.raises(ValueError, match="StableDiffusionControlNetPipeline brings its own control network"):
        described(tiny.sd_controlnet())
    base = tiny.sd()
    unconditional = DDPMPipeline(unet=base.unet, scheduler=base.scheduler)
    with pytest.raises(ValueError, match="DDPMPipeline takes no prompt; it is not served"):
        described(unconditional)
