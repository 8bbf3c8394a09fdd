"""Which of diffusers' pipeline classes are served is read off the table, before anything is generated."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch
from torch import nn

from imagegen.pipelines.class_table import TABLE
from imagegen.pipelines.classes import check_pipeline, derived, refusal, tasks_of
from imagegen_client import EDITING, IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE
from tests.unit import tiny_pipelines as tiny

UNTESTED = "is not among those that are tested"
REFUSED = {
    "AudioLDM2Pipeline": "makes sound",
    "CogVideoXPipeline": "makes videos",
    "CycleDiffusionPipeline": "needs source_prompt, which no request carries",
    "DDPMPipeline": "takes no prompt",
    "DanceDiffusionPipeline": "makes sound",
    "DiTPipeline": "needs class_labels, which no request carries",
    "FluxControlPipeline": UNTESTED,
    "KandinskyPriorPipeline": "makes embeddings, not images",
    "LDMSuperResolutionPipeline": "takes no prompt",
    "MarigoldDepthPipeline": "takes no prompt",
    "PaintByExamplePipeline": "needs example_image, which no request carries",
    "ShapEPipeline": "makes views of an object",
    "StableAudio3Pipeline": "makes sound",
    "StableCascadeDecoderPipeline": "needs image_embeddings, which no request carries",
    "StableDiffusionDepth2ImgPipeline": UNTESTED,
    "StableVideoDiffusionPipeline": "makes videos",
    "TextToVideoSDPipeline": "makes videos",
    "UnCLIPPipeline": UNTESTED,
    "VideoToVideoSDPipeline": "makes videos",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_request_can_use_has_a_reason(name: str) -> None:
    assert refusal(getattr(diffusers, name)) == REFUSED[name]


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.control is None])
def test_what_the_table_has_is_served(name: str) -> None:
    assert refusal(getattr(diffusers, name)) is None


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.control is not None])
def test_a_checkpoint_with_a_control_network_of_its_own_says_which_to_serve(name: str) -> None:
    plain = next(row.name for row in TABLE.values() if row.weights == TABLE[name].weights)
    reason = refusal(getattr(diffusers, name))
    assert reason == f"brings its own control network; serve {plain}, and name the network in the parameter controlnets"


def test_a_refusal_names_the_class_the_reason_and_those_that_work() -> None:
    class OddPipeline(diffusers.DiffusionPipeline):
        def __call__(self, prompt: str) -> None: ...

    with pytest.raises(ValueError, match=f"OddPipeline {UNTESTED}; it is not served. These are: StableDiff") as caught:
        check_pipeline(OddPipeline())
    assert "QwenImageEditPlusPipeline" in str(caught.value)
    assert "ControlNet" not in str(caught.value)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"scheduler": None, "unet": nn.Identity()}, "has no scheduler"),
        ({"scheduler": object(), "unet": None}, "has none of unet, transformer"),
    ],
)
def test_a_pipeline_without_what_requests_share_is_named(parts: dict[str, Any], reason: str) -> None:
    pipeline = tiny.sd()
    pipeline.__dict__.update(parts)
    with pytest.raises(ValueError, match=f"StableDiffusionPipeline {reason}"):
        check_pipeline(pipeline)


@pytest.mark.parametrize(
    ("make", "tasks"),
    [
        (tiny.sd, [TEXT_TO_IMAGE, IMAGE_TO_IMAGE, INPAINTING]),
        (tiny.sd_image_to_image, [IMAGE_TO_IMAGE, TEXT_TO_IMAGE, INPAINTING]),
        (tiny.sdxl_refiner, [IMAGE_TO_IMAGE, INPAINTING]),
        (tiny.sd_upscale, [IMAGE_TO_IMAGE]),
        (tiny.sd_instruct, [EDITING]),
        (lambda: tiny.sd_inpainting(9), [INPAINTING]),
        (tiny.flux_kontext, [TEXT_TO_IMAGE, EDITING]),
        (tiny.qwen_edit, [EDITING, INPAINTING]),
        (tiny.qwen_edit_plus, [EDITING]),
    ],
)
def test_the_tasks_are_those_of_its_weights_and_its_own_come_first(make: Any, tasks: list[str]) -> None:
    found = tasks_of(make())
    assert list(found) == tasks
    assert all(task in row.tasks and type(pipeline).__name__ == row.name for task, (row, pipeline) in found.items())


def test_a_derived_pipeline_has_the_components_and_leaves_their_dtype_alone() -> None:
    base = tiny.sd()
    base.unet.to(torch.bfloat16)
    made = derived(base, TABLE["StableDiffusionInpaintPipeline"], {})
    assert made.unet is base.unet
    assert base.unet.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("make", "factor"),
    [
        (tiny.sd_upscale, 2),
        (tiny.sd_latent_upscale, 2),
    ],  # the VAE's factor of the tiny one, 4 of the real one; always 2
)
def test_upscalers_say_how_much_larger_their_images_are(make: Any, factor: int) -> None:
    pipeline = make()
    upscaling = check_pipeline(pipeline).upscaling
    assert upscaling is not None
    assert upscaling(pipeline) == factor
    assert check_pipeline(tiny.sd()).upscaling is None
