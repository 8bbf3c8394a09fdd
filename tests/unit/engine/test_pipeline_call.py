"""An image is what its plan says, to the seed and the mask, whoever else is generated at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from imagegen.api.errors import InvalidArgument
from imagegen.engine import Engine, GenerationResult
from imagegen.pipelines.checkpoint import describe_pipelines
from imagegen.pipelines.schedulers import fitting_schedulers
from tests.unit import tiny_pipelines as tiny
from tests.unit.tiny_engine import SETTINGS, Gate, image, levels, mask, tiny_engine, wait_until

TASKS: list[tuple[dict[str, Any], str]] = [
    ({}, "text-to-image"),
    ({"images": image()}, "image-to-image"),
    ({"images": image(), "mask": mask()}, "inpainting"),
]


def generate(engine: Engine, **options: Any) -> GenerationResult:
    return engine.generate(options.pop("prompt", "a red cat"), **options)


def together(engine: Engine, *requests: dict[str, Any]) -> list[GenerationResult]:
    """All requests at once, each from a thread of its own."""
    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(lambda options: generate(engine, **options), requests))


@pytest.mark.parametrize(("options", "task"), TASKS)
@pytest.mark.parametrize(("size", "shape"), [("40x24", (24, 40, 3)), (None, (32, 32, 3))])
def test_every_task_gives_n_frames_of_the_size(
    engine: Engine, options: dict[str, Any], task: str, size: str | None, shape: tuple[int, ...]
) -> None:
    result = generate(engine, n=3, size=size, seed=1, **options)
    assert result.frames.shape == (3, *shape)
    assert result.frames.dtype == np.uint8
    assert result.frames.std() > 1
    assert result.statistics.task == task
    assert result.seeds == (1, 2, 3)
    assert levels(result.frames[0], result.frames[1]) > 1


@pytest.mark.parametrize("make", [tiny.sd_upscale, tiny.sd_latent_upscale])
def test_an_upscaler_gives_images_of_the_size_of_its_plan(make: Any) -> None:
    """Its images were larger than what the report, and the client, were told."""
    described = describe_pipelines(make(), SETTINGS, torch.device("cpu"))
    with tiny_engine(pipelines=described) as upscaler:
        doubled = generate(upscaler, images=image(height=32, width=48))
        assert (doubled.frames.shape, doubled.statistics.size) == ((1, 64, 96, 3), "96x64")
        chosen = generate(upscaler, images=image(height=32, width=48), size="32x64")
        assert (chosen.frames.shape, chosen.statistics.size) == ((1, 64, 32, 3), "32x64")
        with pytest.raises(InvalidArgument, match="does no text-to-image; it does image-to-image"):
            generate(upscaler)


def test_flux_kontext_gives_images_of_the_size_of_its_plan() -> None:
    """It takes its size from an argument of its own, whose default is a million pixels."""
    described = describe_pipelines(tiny.flux_kontext(), SETTINGS, torch.device("cpu"))
    with tiny_engine(pipelines=described) as kontext:
        assert generate(kontext, size="48x32", num_inference_steps=1).frames.shape == (1, 32, 48, 3)


def test_the_same_seed_gives_the_same_image_alone_or_among_others(engine: Engine, gate: Gate) -> None:
    alone = generate(engine, seed=11, num_inference_steps=6)
    gate.close()
    with ThreadPoolExecutor(3) as pool:
        others = [
            pool.submit(generate, engine, prompt="a blue boat", seed=s, num_inference_steps=8, guidance_scale=3.0)
            for s in (1, 2)
        ]
        among = pool.submit(generate, engine, seed=11, num_inference_steps=6).result
        wait_until(lambda: engine.active_requests == 3)
        gate.open()
    assert levels(among().frames, alone.frames) <= 1
    assert among().statistics.mean_batch_rows > 2, "nothing was shared"
    assert all(levels(other.result().frames, alone.frames) > 1 for other in others)


def test_images_of_one_request_share_their_forwards(engine: Engine) -> None:
    assert generate(engine, n=3).statistics.mean_batch_rows == 6
    assert generate(engine, n=1).statistics.mean_batch_rows == 2


@pytest.mark.parametrize(("options", "task"), TASKS)
def test_image_i_of_seed_s_is_the_image_of_seed_s_plus_i(engine: Engine, options: dict[str, Any], task: str) -> None:
    frames = generate(engine, seed=40, n=3, **options).frames
    for index in range(3):
        assert levels(generate(engine, seed=40 + index, **options).frames[0], frames[index]) <= 1


def test_n_seeds_are_one_an_image(engine: Engine) -> None:
    frames = generate(engine, seed=[9, 9, 4], n=3).frames
    assert levels(frames[0], frames[1]) <= 1
    assert levels(frames[0], frames[2]) > 1


def test_each_image_starts_from_its_own_image(engine: Engine) -> None:
    images = image(count=2)
    frames = generate(engine, images=images, n=2, seed=[3, 3], strength=0.5).frames
    for index in range(2):
        alone = generate(engine, images=images[index : index + 1], seed=3, strength=0.5).frames
        assert levels(alone[0], frames[index]) <= 1
    assert levels(frames[0], frames[1]) > 1


def test_pixels_outside_the_mask_are_exactly_those_of_the_image(engine: Engine) -> None:
    pixels = image()
    frame = generate(engine, images=pixels, mask=mask(), strength=1.0, seed=1).frames[0]
    assert np.array_equal(frame[:, 16:], pixels[0, :, 16:])
    assert levels(frame[:, :16], pixels[0, :, :16]) > 1


@pytest.mark.parametrize("level", [0, 127])
@pytest.mark.parametrize("size", [None, "40x24"])
def test_a_mask_that_repaints_nothing_costs_no_step(engine: Engine, gate: Gate, level: int, size: str | None) -> None:
    pixels = image(count=2)
    unmasked = np.full((1, 32, 32), level, np.uint8)
    gate.close()  # a forward would wait at it for ever
    result = generate(engine, images=pixels, mask=unmasked, n=2, strength=1.0, seed=1, size=size)
    assert result.statistics.warnings == ("mask: it repaints nothing; the image is returned as it came",)
    assert (gate.steps, result.seeds) == (0, (1, 2))
    if size is None:
        assert np.array_equal(result.frames, pixels)
    else:
        assert result.frames.shape == (2, 24, 40, 3)


def test_a_mask_of_one_pixel_repaints_it(engine: Engine) -> None:
    pixels, area = image(), np.zeros((1, 32, 32), np.uint8)
    area[0, 5, 7] = 128
    result = generate(engine, images=pixels, mask=area, strength=1.0, seed=1)
    assert result.statistics.warnings == ()
    changed = np.argwhere((result.frames[0] != pixels[0]).any(-1)).tolist()
    assert changed in ([], [[5, 7]])
    assert result.statistics.mean_batch_rows > 0


def test_guidance_of_zero_is_a_value_and_takes_one_row(engine: Engine) -> None:
    zero, default = generate(engine, seed=1, guidance_scale=0.0), generate(engine, seed=1)
    assert levels(zero.frames, default.frames) > 1
    assert (zero.statistics.guidance_scale, zero.statistics.mean_batch_rows) == (0, 1)


def test_a_negative_prompt_counts(engine: Engine) -> None:
    assert levels(generate(engine, seed=1, negative_prompt="a dog").frames, generate(engine, seed=1).frames) > 0
    assert generate(engine, seed=1, negative_prompt="a dog", guidance_scale=0.0).statistics.warnings


@pytest.mark.parametrize("name", list(fitting_schedulers(tiny.sd().scheduler, 50)))
def test_every_scheduler_does_every_task(engine: Engine, name: str) -> None:
    """Also in one step; PNDM with Runge-Kutta steps failed below four."""
    for steps in (1, 2, 5):
        for options, _ in TASKS:
            strength = 1.0 if options else None
            result = generate(engine, scheduler=name, seed=1, num_inference_steps=steps, strength=strength, **options)
            assert result.frames.std() > 1
            assert result.statistics.scheduler == name


def test_a_named_scheduler_is_each_requests_own(engine: Engine) -> None:
    """Two requests at once with one scheduler that remembers its last steps, and different numbers of steps."""
    both = [{"scheduler": "dpmpp_2m", "seed": seed, "num_inference_steps": steps} for seed, steps in ((1, 4), (2, 7))]
    alone = [generate(engine, **options).frames for options in both]
    for result, frames in zip(together(engine, *both), alone, strict=True):
        assert levels(result.frames, frames) <= 1
    assert levels(generate(engine, seed=1, num_inference_steps=4).frames, alone[0]) > 1, "as with the checkpoint's own"


def test_with_row_buckets_an_image_is_the_same_to_the_bit_whoever_shares_its_forwards() -> None:
    with tiny_engine(SETTINGS.model_copy(update={"row_buckets": (16,)})) as engine:
        alone = generate(engine, seed=7)
        crowd = [{"seed": seed, "num_inference_steps": 4} for seed in range(3)]
        *_, among_others = together(engine, *crowd, {"seed": 7})
    assert np.array_equal(alone.frames, among_others.frames)


def test_seeds_that_are_equal_modulo_2_to_the_32_give_different_images(engine: Engine) -> None:
    frames = [generate(engine, seed=seed).frames for seed in (5, 5 + 2**32, 5 + 2**62)]
    assert levels(frames[0], frames[1]) > 1
    assert levels(frames[0], frames[2]) > 1
    assert levels(frames[1], frames[2]) > 1


def test_consecutive_seeds_reach_the_top_of_the_range(engine: Engine) -> None:
    top = 2**63 - 1
    result = generate(engine, seed=top - 2, n=3)
    assert result.seeds == (top - 2, top - 1, top)
    assert levels(generate(engine, seed=top).frames[0], result.frames[2]) <= 1
    assert min(levels(result.frames[i], result.frames[j]) for i, j in ((0, 1), (0, 2), (1, 2))) > 1
    with pytest.raises(InvalidArgument, match=f"seed: {top - 1} is outside 0..{top - 2}"):
        generate(engine, seed=top - 1, n=3)
