"""Input images are checked against what the checkpoint takes, and give the size that "auto" follows."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch

from imagegen.api.controls import ControlChoice
from imagegen.api.errors import InvalidArgument
from imagegen.api.input_images import InputImages
from imagegen.api.request import ImageRequest
from imagegen.api.tensors import Pixels
from imagegen.pipelines.checkpoint import Pipelines, describe_pipelines
from imagegen.pipelines.plan_images import check_images, controlled_pipeline, planned_controls, planned_size
from imagegen.pipelines.settings import PipelineSettings
from imagegen_client import EDITING, IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from tests.unit import tiny_pipelines as tiny
from tests.unit.tiny_pipelines import control_networks as nets

LIMITS: dict[str, Any] = {"max_side_px": 256}
SETTINGS = PipelineSettings(**LIMITS)


def of(base: Any, **networks: Any) -> Pipelines:
    with TemporaryDirectory() as name:
        folder = Path(name)
        for kind, make in networks.items():
            make().save_pretrained(folder / kind)
        settings = PipelineSettings(controlnets=tuple(f"{kind}={kind}" for kind in networks), **LIMITS)
        return describe_pipelines(base, settings, torch.device("cpu"), folder)


@cache
def controlled() -> Pipelines:
    return of(tiny.sd_for_adapters(), canny=nets.sd_net, depth=nets.sd_net, sketch=nets.sd_adapter)


@cache
def edited() -> Pipelines:
    return of(tiny.flux2())


def pixels(height: int = 64, width: int = 64, count: int = 0) -> Pixels:
    return np.zeros((count, height, width, 3) if count else (height, width, 3), np.uint8)


def controls(*choices: ControlChoice) -> tuple[ImageRequest, InputImages]:
    return ImageRequest(prompt="a cat", controls=choices), InputImages(controls=pixels(count=len(choices)))


def planned(pipelines: Pipelines, *choices: ControlChoice, task: str = TEXT_TO_IMAGE) -> Any:
    request, given = controls(*choices)
    check_images(request, given, pipelines)
    return controlled_pipeline(task, planned_controls(request, given, pipelines), pipelines)


def test_references_ask_for_editing() -> None:
    given = InputImages(references=(pixels(), pixels(64, 128)))
    assert check_images(ImageRequest(prompt="a cat"), given, edited()) == EDITING


@pytest.mark.parametrize(
    ("given", "field", "reason"),
    [
        (
            InputImages(references=(pixels(), pixels(63))),
            r"reference_image\[1\]",
            "64x63 pixels; each side is 64 or more",
        ),
        (InputImages(references=(pixels(),) * 17), "reference_image", "17 images; .* at most 16"),
        (InputImages(images=pixels(count=1)), "image", "tiny|flux2|checkpoint"),
        (InputImages(controls=pixels(count=1)), "control_image", "no control models"),
        (InputImages(mask=np.zeros((1, 8, 8), np.uint8)), "mask", "given without image"),
    ],
)
def test_what_an_edit_model_does_not_take_is_refused_by_name(given: InputImages, field: str, reason: str) -> None:
    request = ImageRequest(prompt="a cat", controls=(ControlChoice(),) * given.control_count)
    with pytest.raises(InvalidArgument, match=f"{field}.*{reason}"):
        check_images(request, given, edited())


def test_one_control_and_several_have_the_same_pipeline() -> None:
    one = planned(controlled(), ControlChoice("canny", 0.5))
    several = planned(controlled(), ControlChoice("canny"), ControlChoice("depth"))
    assert one is several
    assert one.row.name == "StableDiffusionControlNetPipeline"
    assert planned(controlled(), ControlChoice("sketch")).row.name == "StableDiffusionAdapterPipeline"


@pytest.mark.parametrize(
    ("choices", "task", "field", "reason"),
    [
        (
            (ControlChoice("canny"), ControlChoice("sketch")),
            TEXT_TO_IMAGE,
            "control_type",
            "cannot be combined: canny is",
        ),
        ((ControlChoice("sketch"),), IMAGE_TO_IMAGE, "control_type", "takes no sketch for image-to-image"),
        ((ControlChoice("sketch", 1, 0.5),), TEXT_TO_IMAGE, "control_end", "sketch counts to the end"),
        ((ControlChoice("pose"),), TEXT_TO_IMAGE, "control_type", "pose.* is not one of canny, depth, sketch"),
        ((ControlChoice(),), TEXT_TO_IMAGE, "control_type", "missing; the model .* has several"),
    ],
)
def test_controls_that_no_pipeline_takes_are_refused(
    choices: tuple[ControlChoice, ...], task: str, field: str, reason: str
) -> None:
    with pytest.raises(InvalidArgument, match=f"{field}.*{reason}"):
        planned(controlled(), *choices, task=task)


def test_adapters_that_end_together_have_one_end() -> None:
    pipelines = of(tiny.sdxl(), sketch=nets.sdxl_adapter, depth=nets.sdxl_adapter)
    assert planned(pipelines, ControlChoice("sketch", 1, 0.5), ControlChoice("depth", 1, 0.5))
    with pytest.raises(InvalidArgument, match=r"control_end.*sketch and depth end together"):
        planned(pipelines, ControlChoice("sketch", 1, 0.5), ControlChoice("depth"))


def test_the_only_type_need_not_be_named_and_is_alone() -> None:
    pipelines = of(tiny.z_image(), canny=nets.z_image_net)
    request, given = controls(ControlChoice())
    assert [control.type for control in planned_controls(request, given, pipelines)] == ["canny"]
    with pytest.raises(InvalidArgument, match=r"control_image.*2 images"):
        planned(pipelines, ControlChoice("canny"), ControlChoice("canny"))


def size_of(pipelines: Pipelines, given: InputImages, size: tuple[int, int] | None = None) -> tuple[int, int]:
    return planned_size(ImageRequest(prompt="a cat", size=size), given, pipelines, SETTINGS)


def test_the_size_that_is_asked_for_is_taken() -> None:
    assert size_of(edited(), InputImages(references=(pixels(),)), (96, 64)) == (96, 64)


def test_size_auto_follows_the_image_that_the_class_follows() -> None:
    first, last = pixels(64, 128), pixels(128, 64)
    both = InputImages(references=(first, last))
    assert size_of(edited(), both) == (128, 64)  # the first's own size
    width, height = size_of(of(tiny.qwen_edit_plus()), both)  # the last's proportions, of the model's native area
    assert height / width == pytest.approx(2, rel=0.1)
    assert size_of(controlled(), InputImages(images=pixels(96, 64, 1), controls=pixels(count=1))) == (64, 96)
    assert size_of(controlled(), InputImages(controls=pixels(96, 64, 1))) == (64, 96)
    assert size_of(controlled(), InputImages()) == controlled().native_size


def test_a_large_reference_gives_the_largest_size_that_is_allowed() -> None:
    assert size_of(edited(), InputImages(references=(pixels(300, 600),))) == (256, 128)
