"""Input images in the form that each class of pipelines takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import MultiControlNetModel
from PIL import Image

from imagegen.api.input_images import NO_IMAGES, InputImages
from imagegen.api.request import ImageRequest
from imagegen.engine.image_arguments import (
    control_arguments,
    image_as_pil,
    image_on_device,
    mask_on_host,
    reference_argument,
    start_image,
    with_control_networks,
)
from imagegen.pipelines.checkpoint import describe_pipelines
from imagegen.pipelines.class_table import TABLE
from imagegen.pipelines.controls import ControlType
from imagegen.pipelines.pipeline_class import Control, Form, References
from imagegen.pipelines.plan import make_plan
from imagegen.pipelines.plan_images import PlannedControl
from imagegen.pipelines.settings import PipelineSettings
from tests.unit import tiny_pipelines as tiny
from tests.unit.tiny_engine import image, levels
from tests.unit.tiny_pipelines.control_networks import sd_net

CPU = torch.device("cpu")
SIZE = (48, 32)  # width and height


def control_of(name: str) -> Control:
    control = TABLE[name].control
    assert control is not None
    return control


def arguments_of(name: str, *planned: tuple[float, float], mode: int | None = None) -> dict[str, Any]:
    controls = [PlannedControl("canny", scale, end, image()[0]) for scale, end in planned]
    types = [ControlType(None, "Network", None if mode is None else mode + i) for i in range(len(planned))]
    return control_arguments(controls, control_of(name), types, SIZE, CPU)


def test_an_image_is_scaled_and_stays_in_range() -> None:
    made = image_on_device(image()[0], SIZE, CPU)
    assert made.shape == (1, 3, 32, 48)
    assert 0 <= made.min() < made.max() <= 1
    assert torch.equal(
        image_on_device(image()[0], (32, 32), CPU)[0].permute(1, 2, 0), torch.from_numpy(image()[0]) / 255
    )


def test_a_pil_image_is_the_same_image() -> None:
    assert np.array_equal(np.asarray(image_as_pil(image()[0], (32, 32))), image()[0])
    scaled = image_on_device(image()[0], SIZE, CPU)[0].mul(255).permute(1, 2, 0).numpy()
    assert levels(np.asarray(image_as_pil(image()[0], SIZE)), scaled) <= 1


def test_read_only_pixels_are_taken_without_a_warning() -> None:
    """Of what comes from another process, or from a PIL image."""
    frozen = image()[0].copy()
    frozen.setflags(write=False)
    assert torch.equal(image_on_device(frozen, (32, 32), CPU), image_on_device(image()[0], (32, 32), CPU))


def test_a_mask_has_nothing_in_between() -> None:
    shades = np.linspace(0, 255, 32 * 32).reshape(32, 32).astype(np.uint8)
    assert set(mask_on_host(shades, SIZE).flatten().tolist()) == {0.0, 1.0}


def test_references_come_as_the_class_takes_them() -> None:
    references = (image(1, height=64, width=32)[0], image(2)[0])
    tensor = reference_argument(references[:1], References(1, Form.TENSOR_AT_SIZE), SIZE, CPU)
    assert tensor.shape == (1, 3, 32, 48)
    (one, other) = reference_argument(references, References(16, Form.PIL_LIST), SIZE, CPU)
    assert (one.size, other.size) == ((32, 64), (32, 32))
    assert np.array_equal(np.asarray(reference_argument(references, References(1, Form.PIL), SIZE, CPU)), references[0])


def test_a_reference_of_the_area_of_the_image_keeps_its_proportions() -> None:
    made = reference_argument((image(1, height=400, width=100)[0],), References(1, Form.PIL_OF_AREA), (64, 64), CPU)
    assert isinstance(made, Image.Image)
    assert made.size == (32, 128)


def test_one_control_is_plain_values_and_several_are_lists() -> None:
    one = arguments_of("StableDiffusionControlNetImg2ImgPipeline", (0.5, 0.8))
    assert one.pop("control_image").shape == (1, 3, 32, 48)
    assert one == {"controlnet_conditioning_scale": 0.5, "control_guidance_end": 0.8}
    two = arguments_of("StableDiffusionControlNetPipeline", (0.5, 0.8), (1.0, 1.0))
    assert [each.shape for each in two.pop("image")] == [(1, 3, 32, 48)] * 2
    assert two == {"controlnet_conditioning_scale": [0.5, 1.0], "control_guidance_end": [0.8, 1.0]}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ZImageControlNetPipeline", {"controlnet_conditioning_scale": 0.5}),  # it knows no end
        ("StableDiffusionXLAdapterPipeline", {"adapter_conditioning_scale": 0.5, "adapter_conditioning_factor": 1.0}),
        ("FluxControlNetPipeline", {"controlnet_conditioning_scale": 0.5, "control_guidance_end": 1.0}),
    ],
)
def test_arguments_are_those_of_the_class(name: str, expected: dict[str, Any]) -> None:
    made = arguments_of(name, (0.5, 1.0))
    assert {key: value for key, value in made.items() if "image" not in key} == expected


def test_adapters_of_xl_end_together() -> None:
    made = arguments_of("StableDiffusionXLAdapterPipeline", (0.5, 0.7), (1.0, 0.7))
    assert made["adapter_conditioning_factor"] == 0.7
    assert made["adapter_conditioning_scale"] == [0.5, 1.0]


def test_types_go_by_number_and_several_without_any_say_so() -> None:
    name = "FluxControlNetInpaintPipeline"
    assert "control_mode" not in arguments_of(name, (1.0, 1.0))
    assert arguments_of(name, (1.0, 1.0), mode=2)["control_mode"] == 2
    assert arguments_of(name, (1.0, 1.0), (1.0, 1.0), mode=2)["control_mode"] == [2, 3]
    assert arguments_of(name, (1.0, 1.0), (1.0, 1.0))["control_mode"] == [None, None]  # else nothing would be called


def test_the_networks_of_a_request_take_their_place_in_a_copy() -> None:
    pipeline = tiny.sd_controlnet()
    own = pipeline.controlnet
    canny, depth = (ControlType(sd_net(), "ControlNetModel") for _ in range(2))
    control = control_of("StableDiffusionControlNetPipeline")
    assert with_control_networks(pipeline, control, [canny]).controlnet is canny.network
    several = with_control_networks(pipeline, control, [canny, depth]).controlnet
    assert isinstance(several, MultiControlNetModel)
    assert list(several.nets) == [canny.network, depth.network]
    assert pipeline.controlnet is own


def test_a_reference_that_is_made_of_the_images_size_is_cut_and_not_bent() -> None:
    left_red = np.zeros((32, 64, 3), np.uint8)
    left_red[:, :16] = (255, 0, 0)
    made = reference_argument((left_red,), References(1, Form.TENSOR_AT_SIZE), (32, 32), CPU)
    assert made.shape == (1, 3, 32, 32)
    assert made.max() == 0  # the middle half, with nothing of the outer quarter


def test_of_a_thin_reference_a_few_tokens_are_left() -> None:
    made = reference_argument((image(1, height=2, width=800)[0],), References(1, Form.PIL_OF_AREA), (64, 64), CPU)
    assert min(made.size) == 32


def test_what_an_image_starts_from_comes_as_the_class_takes_it() -> None:
    request = ImageRequest(prompt="a cat", seeds=(1, 2), n=2)
    pixels = np.concatenate([image(1), image(2)])
    pipelines = describe_pipelines(tiny.sd(), PipelineSettings(), CPU)
    plan = make_plan(request, InputImages(pixels), pipelines, PipelineSettings())
    start = start_image(plan, 1, TABLE["StableDiffusionImg2ImgPipeline"], 1, CPU)
    assert start.image is start.argument
    assert torch.equal(start.image, image_on_device(pixels[1], plan.size, CPU))
    assert (start.mask, start.mask_argument, start.repaints_nothing) == (None, None, False)
    keeps_all = np.zeros((1, *pixels.shape[1:3]), np.uint8)
    masked = make_plan(request, InputImages(pixels, keeps_all), pipelines, PipelineSettings())
    start = start_image(masked, 0, TABLE["QwenImageEditInpaintPipeline"], 1, CPU)
    assert isinstance(start.argument, Image.Image)
    assert start.repaints_nothing
    of_text = make_plan(ImageRequest("a cat"), NO_IMAGES, pipelines, PipelineSettings())
    nothing = start_image(of_text, 0, TABLE["StableDiffusionPipeline"], 1, CPU)
    assert (nothing.image, nothing.argument) == (None, None)
