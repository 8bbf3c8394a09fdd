"""The loop of every pipeline is followed step by step at its scheduler, and left as it was."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import diffusers
import pytest
import torch

from imagegen.pipelines.steps import Step, followed
from tests.unit import tiny_pipelines as tiny

STEPS = 4


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(pipeline: Any, **arguments: Any) -> tuple[list[Step], torch.Tensor]:
    """The steps of a call, and its image."""
    steps: list[Step] = []
    with torch.no_grad(), followed(pipeline.scheduler, steps.append):
        output = pipeline(
            prompt="a red cat",
            num_inference_steps=STEPS,
            generator=torch.Generator().manual_seed(1),
            output_type="pt",
            **arguments,
        )
    return steps, output.images


def sizes(family: str) -> dict[str, int]:
    return {"width": 64, "height": 64} if family in ("sana", "lumina2") else {"width": 32, "height": 16}


@pytest.mark.parametrize(
    "family", ["sd", "sdxl", "sd3", "flux", "pixart_sigma", "sana", "lumina2", "qwen_image", "z_image"]
)
def test_every_family_is_followed_and_generates_what_it_would(family: str) -> None:
    pipeline = getattr(tiny, family)()
    arguments: dict[str, Any] = sizes(family)
    if family in ("pixart_sigma", "sana"):
        arguments["use_resolution_binning"] = False
    pipeline.scheduler, fresh = copy.deepcopy(pipeline.scheduler), copy.deepcopy(pipeline.scheduler)
    steps, image = run(pipeline, **arguments)
    assert [(step.number, step.total) for step in steps] == [(number, STEPS) for number in range(1, STEPS + 1)]
    assert all(step.latents.isfinite().all() and len(step.latents) == 1 for step in steps)
    assert "step" not in vars(pipeline.scheduler)
    pipeline.scheduler = fresh
    with torch.no_grad():
        alone = pipeline(
            prompt="a red cat",
            num_inference_steps=STEPS,
            generator=torch.Generator().manual_seed(1),
            output_type="pt",
            **arguments,
        ).images
    assert torch.equal(image, alone)


def test_image_to_image_has_the_steps_that_its_strength_leaves() -> None:
    pipeline = tiny.sd_image_to_image()
    steps, _ = run(pipeline, image=torch.rand(1, 3, 32, 32), strength=0.5)
    assert [(step.number, step.total) for step in steps] == [(1, 2), (2, 2)]


CLEAN: list[tuple[str, dict[str, Any]]] = [
    ("DDIMScheduler", {"clip_sample": False}),
    ("DDPMScheduler", {"clip_sample": False}),
    ("EulerDiscreteScheduler", {}),
    ("EulerAncestralDiscreteScheduler", {}),
    ("HeunDiscreteScheduler", {}),
    ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    ("UniPCMultistepScheduler", {}),
    ("FlowMatchEulerDiscreteScheduler", {}),
]


@pytest.mark.parametrize(("name", "options"), CLEAN)
def test_the_latents_are_the_predicted_clean_ones(name: str, options: dict[str, Any]) -> None:
    """With a denoiser that always knows the noise, the prediction is the clean sample at every step."""
    scheduler = getattr(diffusers, name)(**options)
    scheduler.set_timesteps(6)
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(1, 4, 8, 8, generator=generator)
    noise = torch.randn(1, 4, 8, 8, generator=generator)
    flow = "Flow" in name
    first = scheduler.timesteps[:1]
    sample = scheduler.scale_noise(clean, first, noise) if flow else scheduler.add_noise(clean, noise, first)
    seen: list[Step] = []
    with followed(scheduler, seen.append):
        for index, timestep in enumerate(scheduler.timesteps):
            if flow:
                output = (sample - clean) / scheduler.sigmas[index]  # v = noise - clean
            else:
                scaled = scheduler.scale_model_input(sample, timestep)
                alpha = scheduler.alphas_cumprod[timestep.long()]
                output = (scaled - alpha.sqrt() * clean) / (1 - alpha).sqrt()
            sample = scheduler.step(output, timestep, sample, return_dict=False)[0]
    for step in seen[:-1]:
        assert torch.allclose(step.latents, clean, atol=0.05), step.number


@pytest.mark.parametrize("name", ["PNDMScheduler", "DEISMultistepScheduler"])
def test_others_give_the_current_latents(name: str) -> None:
    scheduler = getattr(diffusers, name)()
    scheduler.set_timesteps(4)
    sample = torch.randn(1, 4, 8, 8)
    seen: list[Step] = []
    with followed(scheduler, seen.append):
        after = scheduler.step(torch.zeros_like(sample), scheduler.timesteps[0], sample, return_dict=True).prev_sample
    assert torch.equal(seen[0].latents, after)


def test_without_a_scheduler_no_step_is_seen() -> None:
    with followed(None, lambda step: pytest.fail("a step")):
        pass


def test_nothing_is_kept_alive_and_an_error_restores_it_too() -> None:
    scheduler = diffusers.DDIMScheduler()
    gc.disable()
    try:
        with pytest.raises(ValueError, match="broke"), followed(scheduler, lambda step: None):
            raise ValueError("broke")
        reference = weakref.ref(scheduler)
        del scheduler
        assert reference() is None
    finally:
        gc.enable()
