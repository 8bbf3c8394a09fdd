"""Which of diffusers' pipeline classes are served is read off the class, before anything is generated."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
from torch import nn

from imagegen.pipelines.classes import check_pipeline, own_task, refusal, upscaling
from imagegen_client import IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE
from tests.unit import tiny_pipelines as tiny

REFUSED = {
    "AudioLDM2Pipeline": "makes sound",
    "CogVideoXPipeline": "makes videos",
    "CycleDiffusionPipeline": "needs source_prompt, which no request carries",
    "DDPMPipeline": "takes no prompt",
    "DanceDiffusionPipeline": "makes sound",
    "DiTPipeline": "needs class_labels, which no request carries",
    "FluxControlPipeline": "needs a control image, which no request carries",
    "KandinskyPriorPipeline": "makes embeddings, not images",
    "LDMSuperResolutionPipeline": "takes no prompt",
    "MarigoldDepthPipeline": "takes no prompt",
    "PaintByExamplePipeline": "needs example_image, which no request carries",
    "ShapEPipeline": "makes views of an object",
    "StableAudio3Pipeline": "makes sound",
    "StableCascadeDecoderPipeline": "needs image_embeddings, which no request carries",
    "StableDiffusionAdapterPipeline": "needs a control image, which no request carries",
    "StableDiffusionControlNetPipeline": "needs a control image, which no request carries",
    "StableDiffusionDepth2ImgPipeline": "needs a depth map, which no request carries",
    "StableDiffusionDiffEditPipeline": "needs latents of an image, which no request carries",
    "StableVideoDiffusionPipeline": "makes videos",
    "TextToVideoSDPipeline": "makes videos",
    "UnCLIPPipeline": "takes no num_inference_steps",
    "VideoToVideoSDPipeline": "makes videos",
}
SERVED = (
    *("FluxFillPipeline", "FluxKontextPipeline", "IFPipeline", "LatentConsistencyModelPipeline", "PixArtAlphaPipeline"),
    *("StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline", "StableDiffusionInstructPix2PixPipeline"),
    *("StableDiffusionLatentUpscalePipeline", "StableDiffusionPipeline", "StableDiffusionUpscalePipeline"),
    *("StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInstructPix2PixPipeline", "ZImagePipeline"),
)


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_request_can_use_has_a_reason(name: str) -> None:
    assert refusal(getattr(diffusers, name)) == REFUSED[name]


@pytest.mark.parametrize("name", SERVED)
def test_what_requests_can_use_has_none(name: str) -> None:
    assert refusal(getattr(diffusers, name)) is None


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"scheduler": None, "unet": nn.Identity()}, "has no scheduler"),
        ({"scheduler": object()}, "has none of unet, transformer"),
    ],
)
def test_a_pipeline_without_what_requests_share_is_named(parts: dict[str, Any], reason: str) -> None:
    class OddPipeline:
        def __call__(
            self, prompt: str, num_inference_steps: int = 1, generator: Any = None, output_type: str = "pil"
        ) -> None: ...

    pipeline = OddPipeline()
    pipeline.__dict__.update(parts)
    with pytest.raises(ValueError, match=f"OddPipeline {reason}"):
        check_pipeline(pipeline)


@pytest.mark.parametrize(
    ("make", "task"),
    [
        (tiny.sd, TEXT_TO_IMAGE),
        (tiny.flux_kontext, TEXT_TO_IMAGE),
        (tiny.sd_image_to_image, IMAGE_TO_IMAGE),
        (tiny.sdxl_refiner, IMAGE_TO_IMAGE),
        (tiny.sd_upscale, IMAGE_TO_IMAGE),
        (tiny.sd_inpainting, INPAINTING),
    ],
)
def test_the_own_task_is_that_of_the_class(make: Any, task: str) -> None:
    assert own_task(make()) == task


def test_upscalers_say_how_much_larger_their_images_are() -> None:
    assert upscaling(tiny.sd_upscale()) == 2  # the tiny VAE's factor; that of the real one is 4
    assert upscaling(tiny.sd_latent_upscale()) == 2
    assert upscaling(tiny.sd()) == upscaling(tiny.sd_instruct()) == 1
