"""A plan has every default resolved, and what the checkpoint cannot do is refused by name before any work."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
import torch

from imagegen.api.errors import InvalidArgument
from imagegen.api.input_images import InputImages
from imagegen.api.request import ImageRequest
from imagegen.api.tensors import Pixels
from imagegen.pipelines.checkpoint import (
    IMAGE_TO_IMAGE,
    INPAINTING,
    TEXT_TO_IMAGE,
    Pipelines,
    TaskPipeline,
    describe_pipelines,
)
from imagegen.pipelines.plan import DEFAULT_STRENGTH, Plan, make_plan
from imagegen.pipelines.settings import PipelineSettings
from tests.unit import tiny_pipelines as tiny

SETTINGS = PipelineSettings(max_num_inference_steps=40, max_side_px=256)
TEXT = frozenset({"prompt", "negative_prompt", "guidance_scale", "num_inference_steps"})
DEFAULTS = {"num_inference_steps": 30, "guidance_scale": 7.5}


@functools.cache
def loaded() -> Pipelines:
    """A real checkpoint, for all that these tests do not look at."""
    return describe_pipelines(tiny.sd(), SETTINGS, torch.device("cpu"))


def pipelines_with(**tasks: frozenset[str]) -> Pipelines:
    """A checkpoint with these tasks and what each accepts."""
    return dataclasses.replace(
        loaded(),
        name="toy",
        tasks={name.replace("_", "-"): TaskPipeline(None, accepts, DEFAULTS) for name, accepts in tasks.items()},
        schedulers={"ddim": None, "euler": None},
        native_size=(128, 96),
        granularity_px=8,
    )


ALL = pipelines_with(text_to_image=TEXT, image_to_image=TEXT | {"strength"}, inpainting=TEXT | {"strength"})


def pixels(count: int = 1, height: int = 64, width: int = 96) -> Pixels:
    return np.zeros((count, height, width, 3), np.uint8)


def mask(height: int = 64, width: int = 96) -> Pixels:
    return np.full((1, height, width), 255, np.uint8)


def plan(
    images: Pixels | None = None,
    mask: Pixels | None = None,
    pipelines: Pipelines = ALL,
    settings: PipelineSettings = SETTINGS,
    **request: Any,
) -> Plan:
    return make_plan(ImageRequest(prompt="a cat", **request), InputImages(images, mask), pipelines, settings)


def test_a_prompt_alone_gets_every_default_of_the_checkpoint() -> None:
    made = plan()
    assert dataclasses.replace(made, seeds=()) == Plan(
        task=TEXT_TO_IMAGE,
        prompt="a cat",
        negative_prompt=None,
        size=(128, 96),
        num_inference_steps=30,
        guidance_scale=7.5,
        strength=None,
        scheduler=None,
        seeds=(),
        images=None,
        mask=None,
        timeout_ms=None,
    )
    assert len(made.seeds) == 1


def test_what_the_request_says_is_kept() -> None:
    made = plan(
        negative_prompt="a dog",
        n=2,
        size=(64, 64),
        num_inference_steps=3,
        guidance_scale=0.0,
        scheduler="euler",
        timeout_ms=1000,
        seeds=(5, 3),
    )
    assert (made.negative_prompt, made.size, made.num_inference_steps) == ("a dog", (64, 64), 3)
    assert (made.guidance_scale, made.scheduler, made.timeout_ms) == (0.0, "euler", 1000)
    assert made.seeds == (5, 3)


def test_an_upscalers_image_is_larger_than_its_input_unless_a_size_is_asked_for() -> None:
    upscaler = dataclasses.replace(pipelines_with(image_to_image=TEXT), upscaling=4, granularity_px=32)
    assert plan(images=pixels(height=32, width=64), pipelines=upscaler).size == (256, 128)
    assert plan(images=pixels(height=32, width=64), pipelines=upscaler, size=(64, 96)).size == (64, 96)
    most = SETTINGS.max_side_px
    assert plan(images=pixels(height=most // 2, width=most // 2), pipelines=upscaler).size == (most, most)


def test_images_select_image_to_image_and_a_mask_selects_inpainting() -> None:
    image, area = pixels(), mask()
    edited = plan(images=image, strength=0.5)
    assert (edited.task, edited.strength, edited.mask) == (IMAGE_TO_IMAGE, 0.5, None)
    assert edited.images is image
    repainted = plan(images=image, mask=area)
    assert (repainted.task, repainted.strength) == (INPAINTING, DEFAULT_STRENGTH)
    assert repainted.mask is not None
    assert repainted.mask.shape == (64, 96)


def test_the_settings_come_before_the_checkpoints_defaults_and_the_request_before_both() -> None:
    settings = PipelineSettings(default_num_inference_steps=4, default_guidance_scale=0.0)
    made = plan(settings=settings)
    assert (made.num_inference_steps, made.guidance_scale) == (4, 0.0)
    made = plan(settings=settings, num_inference_steps=5, guidance_scale=2.0)
    assert (made.num_inference_steps, made.guidance_scale) == (5, 2.0)


def test_the_checkpoints_own_steps_keep_to_the_cap() -> None:
    assert plan(settings=PipelineSettings(max_num_inference_steps=10)).num_inference_steps == 10


def test_a_pipeline_without_defaults_gets_diffusers_usual_steps_and_its_own_guidance() -> None:
    pipelines = dataclasses.replace(ALL, tasks={TEXT_TO_IMAGE: TaskPipeline(None, TEXT, {"guidance_scale": None})})
    made = plan(pipelines=pipelines, settings=PipelineSettings())
    assert (made.num_inference_steps, made.guidance_scale) == (50, None)


def test_a_pipeline_that_takes_no_guidance_gets_none() -> None:
    pipelines = pipelines_with(text_to_image=TEXT - {"guidance_scale"})
    assert plan(pipelines=pipelines, settings=PipelineSettings(default_guidance_scale=3.0)).guidance_scale is None


@pytest.mark.parametrize(
    ("image", "asked", "size"),
    [
        (pixels(height=64, width=96), None, (96, 64)),
        (pixels(height=64, width=96), (32, 40), (32, 40)),
        (pixels(height=67, width=101), None, (96, 64)),  # down to the granularity
        (pixels(height=512, width=128), None, (64, 256)),  # down to the cap
        (pixels(height=3, width=3), None, (8, 8)),
    ],
)
def test_size_auto_is_that_of_the_image_as_far_as_it_is_allowed(
    image: Pixels, asked: tuple[int, int] | None, size: tuple[int, int]
) -> None:
    assert plan(images=image, size=asked).size == size


def test_one_seed_counts_up_and_random_seeds_do_too() -> None:
    assert plan(n=3, seeds=(7,)).seeds == (7, 8, 9)
    assert plan(n=3, seeds=(7, 7, 0)).seeds == (7, 7, 0)
    first, second = plan(n=3).seeds, plan(n=3).seeds
    assert first == tuple(range(first[0], first[0] + 3))
    assert first != second


@pytest.mark.parametrize(("count", "n"), [(1, 1), (1, 4), (4, 4)])
def test_there_is_one_image_or_one_for_each(count: int, n: int) -> None:
    made = plan(images=pixels(count), n=n)
    assert made.images is not None
    assert len(made.images) == count


REJECTED: list[tuple[dict[str, Any], str, str]] = [
    ({"images": pixels(2), "n": 3}, "image", "2 images; give 1, or one for each of the n=3 images"),
    ({"images": pixels(3)}, "image", "3 images; give 1, or one for each of the n=1 images"),
    ({"images": pixels(0)}, "image", "shape [0, 64, 96, 3] has no pixels"),
    ({"images": pixels(1, 0, 0)}, "image", "shape [1, 0, 0, 3] has no pixels"),
    ({"mask": mask()}, "mask", "given without image"),
    ({"images": pixels(), "mask": mask(64, 64)}, "mask", "its size differs from the image's"),
    ({"scheduler": "unipc"}, "scheduler", "unipc does not fit this model; these do: ddim, euler"),
    (
        {"scheduler": "ddim", "pipelines": dataclasses.replace(ALL, schedulers={})},
        "scheduler",
        "these do: only its own",
    ),
    (
        {"pipelines": pipelines_with(image_to_image=TEXT)},
        "image",
        "the model toy does no text-to-image; it does image-to-image",
    ),
    ({"images": pixels(), "pipelines": pipelines_with(text_to_image=TEXT)}, "image", "does no image-to-image"),
    (
        {"images": pixels(), "mask": mask(), "pipelines": pipelines_with(text_to_image=TEXT, image_to_image=TEXT)},
        "mask",
        "does no inpainting; it does text-to-image, image-to-image",
    ),
    (
        {"negative_prompt": "a dog", "pipelines": pipelines_with(text_to_image=TEXT - {"negative_prompt"})},
        "negative_prompt",
        "the model toy takes none",
    ),
    (
        {"guidance_scale": 0.0, "pipelines": pipelines_with(text_to_image=TEXT - {"guidance_scale"})},
        "guidance_scale",
        "the model toy takes none",
    ),
    (
        {"images": pixels(), "strength": 0.5, "pipelines": pipelines_with(image_to_image=TEXT)},
        "strength",
        "the model takes none; how far it moves away is its own choice",
    ),
    ({"images": pixels(), "strength": 0.1, "num_inference_steps": 9}, "strength", "0.1 of 9 steps leaves no step"),
    ({"images": pixels(), "num_inference_steps": 1}, "strength", "0.8 of 1 steps leaves no step; use 1 or more"),
]


@pytest.mark.parametrize(("arguments", "field", "says"), REJECTED)
def test_what_the_checkpoint_cannot_do_is_refused_by_name(arguments: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        plan(**arguments)
    assert refusal.value.field == field
    assert says in str(refusal.value)


@pytest.mark.parametrize("steps", range(1, 41))
def test_the_strength_that_a_refusal_recommends_is_accepted(steps: int) -> None:
    """0.333 was recommended for 3 steps, and refused in turn."""
    with pytest.raises(InvalidArgument, match=r"use (\S+) or more") as refusal:
        plan(images=pixels(), strength=0.5 / steps, num_inference_steps=steps)
    recommended = float(str(refusal.value).split()[-3])
    assert plan(images=pixels(), strength=recommended, num_inference_steps=steps).strength == recommended


def test_an_image_that_no_allowed_size_suits_is_refused() -> None:
    with pytest.raises(InvalidArgument, match='size: "8x8" is not allowed'):
        plan(images=pixels(), settings=PipelineSettings(max_side_px=4))


@pytest.mark.parametrize(("guidance", "warns"), [(7.5, False), (1.0, True), (0.0, True)])
def test_a_negative_prompt_that_guidance_ignores_is_worth_a_warning(guidance: float, warns: bool) -> None:
    expected = (f"negative_prompt has no effect at guidance_scale {guidance:g}",) if warns else ()
    assert plan(negative_prompt="a dog", guidance_scale=guidance).warnings == expected
    assert plan(negative_prompt="", guidance_scale=guidance).warnings == ()


@pytest.mark.parametrize(("negative_prompt", "warns"), [(None, True), ("a dog", False), ("", False)])
def test_true_guidance_without_a_negative_prompt_is_worth_a_warning(negative_prompt: str | None, warns: bool) -> None:
    accepts = TEXT | {"true_cfg_scale"}
    pipeline = TaskPipeline(None, accepts, {"true_cfg_scale": 4.0}, "true_cfg_scale")
    pipelines = dataclasses.replace(ALL, tasks={TEXT_TO_IMAGE: pipeline})
    made = plan(pipelines=pipelines, guidance_scale=3.0, negative_prompt=negative_prompt)
    assert (made.guidance_scale, bool(made.warnings)) == (3.0, warns)
    assert plan(pipelines=pipelines).guidance_scale == 4.0


@pytest.mark.parametrize(
    ("steps", "strength", "calls"), [(20, None, 20), (20, 0.8, 16), (1, None, 1), (5, 0.5, 2), (50, 1.0, 50)]
)
def test_denoiser_calls_are_expected_by_steps_and_strength(steps: int, strength: float | None, calls: int) -> None:
    images = None if strength is None else pixels()
    assert plan(images=images, num_inference_steps=steps, strength=strength).expected_calls == calls


def test_work_grows_with_images_pixels_and_calls() -> None:
    one = plan(num_inference_steps=4, size=(64, 64)).work
    assert plan(num_inference_steps=8, size=(64, 64)).work == 2 * one
    assert plan(num_inference_steps=4, size=(64, 128)).work == 2 * one
    assert plan(num_inference_steps=4, size=(64, 64), n=3).work == 3 * one


def test_fewer_steps_than_the_class_can_do_are_refused() -> None:
    pixart = describe_pipelines(tiny.pixart_alpha(), SETTINGS, torch.device("cpu"))
    with pytest.raises(InvalidArgument, match=r"num_inference_steps.*1; 2 is this model's least"):
        make_plan(ImageRequest(prompt="a cat", num_inference_steps=1), InputImages(), pixart, SETTINGS)
