"""Six requests for each family of pipelines, and how many forwards they may take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
)

from tests.unit import tiny_pipelines as tiny

Request = tuple[Any, dict[str, Any]]  # a pipeline and its call's arguments

PROMPTS = [
    "a red cat by the sea",
    "a small blue boat",
    "a large green tree on a house at night",
    "a dog under a red tree",
    "the sea",
    "a house by the sea at night",
]
NEGATIVE = "a blue dog"


def requests_of(
    pipeline: Any, steps: Sequence[int], *, guidance: str = "guidance_scale", off: float = 1.0, **options: Any
) -> list[Request]:
    """A request for each number of steps: own prompt, seed and guidance; the last without guidance."""
    sized = {"height": tiny.SIDE_PX, "width": tiny.SIDE_PX} | options
    requests = []
    for number, count in enumerate(steps):
        last = number == len(steps) - 1
        arguments = {"prompt": PROMPTS[number], "num_inference_steps": count, "seed": 100 + number} | sized
        arguments[guidance] = off if last else 3.0 + number
        requests.append((pipeline, arguments))
    return requests


def image(seed: int) -> torch.Tensor:
    """An input image: float32 [1, 3, SIDE_PX, SIDE_PX] in 0..1."""
    coarse = torch.rand((1, 3, 4, 4), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (tiny.SIDE_PX, tiny.SIDE_PX), mode="bilinear")


def mask() -> torch.Tensor:
    """The right half is repainted: float32 [1, 1, SIDE_PX, SIDE_PX], 0 or 1."""
    made = torch.zeros((1, 1, tiny.SIDE_PX, tiny.SIDE_PX))
    made[..., tiny.SIDE_PX // 2 :] = 1
    return made


def without(requests: Sequence[Request], *names: str) -> list[Request]:
    return [(pipeline, {k: v for k, v in arguments.items() if k not in names}) for pipeline, arguments in requests]


STEPS = (12, 9, 6, 4, 4, 4)  # 39 calls
STEPS_TWO_CALLS = (12, 9, 8, 4, 4, 4)  # two calls a step with guidance, which the last has not: 78 calls


def sd_with(scheduler_type: Any, steps: Sequence[int] = STEPS, **config: Any) -> list[Request]:
    pipeline = tiny.sd()
    pipeline.scheduler = scheduler_type.from_config(pipeline.scheduler.config, **config)
    return requests_of(pipeline, steps, negative_prompt=NEGATIVE)


def image_to_image() -> list[Request]:
    requests = requests_of(tiny.sd_image_to_image(), (32, 26, 18, 12, 10, 8), strength=0.5)
    for number, (_, arguments) in enumerate(requests):
        arguments["image"] = image(number)
    return without(requests, "height", "width")


def inpainting(channels: int) -> list[Request]:
    requests = requests_of(tiny.sd_inpainting(channels), (8, 6, 4, 3, 3, 2), mask_image=mask(), strength=1.0)
    for number, (_, arguments) in enumerate(requests):
        arguments["image"] = image(number)
    return requests


def from_image(pipeline: Any, **options: Any) -> list[Request]:
    """Of a pipeline that begins with an image, whose size its own images follow."""
    requests = requests_of(pipeline, STEPS, **options)
    for number, (_, arguments) in enumerate(requests):
        arguments["image"] = image(number)
    return without(requests, "height", "width")


def three_tasks() -> list[Request]:
    base = tiny.sd()
    image_pipeline = StableDiffusionImg2ImgPipeline.from_pipe(base)
    inpaint_pipeline = StableDiffusionInpaintPipeline.from_pipe(base)
    for pipeline in (image_pipeline, inpaint_pipeline):
        pipeline.set_progress_bar_config(disable=True)
    assert image_pipeline.unet is base.unet
    return (
        requests_of(base, (16, 8))
        + without(requests_of(image_pipeline, (12, 10), strength=0.5, image=image(1)), "height", "width")
        + requests_of(inpaint_pipeline, (4, 3), strength=1.0, image=image(2), mask_image=mask())
    )


def flux_mixed_aspect() -> list[Request]:
    pipeline = tiny.flux()
    wide = requests_of(pipeline, (12, 6, 4), height=16, width=64, max_sequence_length=16)
    tall = requests_of(pipeline, (9, 4, 4), height=64, width=16, max_sequence_length=16)
    return wide + tall


def controlnet() -> list[Request]:
    requests = requests_of(tiny.sd_controlnet(), STEPS)
    for number, (_, arguments) in enumerate(requests):
        arguments["image"] = image(number)
    return requests


CFG: dict[str, Any] = {"negative_prompt": NEGATIVE}
CASES: dict[str, tuple[Callable[[], list[Request]], int, int]] = {  # requests, most forwards, calls
    "sd-ddim": (lambda: sd_with(DDIMScheduler), 12, 39),
    "sd-pndm": (lambda: sd_with(PNDMScheduler, [n - 1 for n in STEPS], skip_prk_steps=True), 12, 39),
    "sd-euler-ancestral": (lambda: sd_with(EulerAncestralDiscreteScheduler), 12, 39),
    "sd-sde-dpm++": (lambda: sd_with(DPMSolverMultistepScheduler, algorithm_type="sde-dpmsolver++"), 12, 39),
    "sd-lcm": (lambda: sd_with(LCMScheduler), 12, 39),
    "sd-image-to-image": (image_to_image, 16, 53),
    "sd-inpainting-4-channels": (lambda: inpainting(4), 8, 26),
    "sd-inpainting-9-channels": (lambda: inpainting(9), 8, 26),
    "sd-upscale": (lambda: from_image(tiny.sd_upscale()), 12, 39),
    "sd-latent-upscale": (lambda: from_image(tiny.sd_latent_upscale()), 12, 39),
    "sd-instruct": (lambda: from_image(tiny.sd_instruct()), 12, 39),
    "sdxl-instruct": (lambda: from_image(tiny.sdxl_instruct()), 12, 39),
    "sdxl-refiner": (lambda: from_image(tiny.sdxl_refiner(), strength=0.5), 6, 19),
    "sd-three-tasks": (three_tasks, 16, 42),
    "sd-controlnet": (controlnet, 33, 78),
    "sdxl": (lambda: requests_of(tiny.sdxl(), STEPS, **CFG), 12, 39),
    "sd3": (lambda: requests_of(tiny.sd3(), STEPS, **CFG, max_sequence_length=16), 12, 39),
    "flux-guidance": (lambda: requests_of(tiny.flux(), STEPS, max_sequence_length=16), 12, 39),
    "flux-true-cfg": (
        lambda: requests_of(
            tiny.flux(guidance_embeds=False), STEPS_TWO_CALLS, guidance="true_cfg_scale", max_sequence_length=16, **CFG
        ),
        24,
        78,
    ),
    "flux-mixed-aspect": (flux_mixed_aspect, 21, 39),
    "pixart-sigma": (
        lambda: requests_of(
            tiny.pixart_sigma(),
            (14, 11, 9, 7, 6, 4),
            use_resolution_binning=False,
            clean_caption=False,
            max_sequence_length=16,
        ),
        14,
        51,
    ),
    "sana": (
        lambda: requests_of(
            tiny.sana(),
            STEPS,
            use_resolution_binning=False,
            clean_caption=False,
            complex_human_instruction=None,
            max_sequence_length=16,
        ),
        12,
        39,
    ),
    "lumina2": (
        lambda: requests_of(
            tiny.lumina2(), STEPS_TWO_CALLS, height=64, width=64, system_prompt="the", max_sequence_length=16
        ),
        24,
        78,
    ),
    "qwen-image": (
        lambda: requests_of(tiny.qwen_image(), STEPS_TWO_CALLS, guidance="true_cfg_scale", **CFG),
        24,
        78,
    ),
    "z-image": (lambda: requests_of(tiny.z_image(), STEPS, off=0.0, max_sequence_length=16), 12, 39),
}
