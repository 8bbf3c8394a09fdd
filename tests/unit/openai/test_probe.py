"""The probe asks for a task that the model does, with the inputs that it needs and takes."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from imagegen.api.limits import RequestLimits
from imagegen.api.request import parse_request
from imagegen.openai.probe import probe_values
from imagegen_client import EDITING, IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE, StreamArguments
from tests.unit.client.test_client_description import DESCRIPTION

COMMON = {
    "prompt": "readiness",
    "num_inference_steps": 2,
    "size": "64x64",
    "response_format": "b64_json",
    "output_format": "jpeg",
}


def probe(**description: Any) -> dict[str, Any]:
    return probe_values(replace(DESCRIPTION, **description), 2)


def sizes(values: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {n: Image.open(io.BytesIO(v)).size for n, v in values.items() if isinstance(v, bytes)}


def test_text_is_enough_where_the_model_takes_it_and_where_the_server_does_not_tell() -> None:
    tasks: dict[str, tuple[str, ...]] = {INPAINTING: ("strength",), TEXT_TO_IMAGE: ()}
    assert probe(tasks=tasks) == COMMON
    assert probe_values(None, 2) == COMMON


def test_a_model_that_only_inpaints_gets_a_small_image_and_a_mask() -> None:
    values = probe(tasks={INPAINTING: ("strength",)})
    assert sizes(values) == {"image": (64, 64), "mask": (64, 64)}
    assert values["strength"] == 1.0
    assert {n: v for n, v in values.items() if n in COMMON} == COMMON
    mask = Image.open(io.BytesIO(values["mask"]))
    assert mask.getextrema() == (255, 255)
    assert StreamArguments(**values).tensors()["image"].shape == (1,)


def test_a_model_that_follows_instructions_gets_an_image_and_no_strength() -> None:
    values = probe(tasks={IMAGE_TO_IMAGE: ("guidance_scale",), INPAINTING: ()})
    assert sizes(values) == {"image": (64, 64)}
    assert "strength" not in values


@pytest.mark.parametrize(("least_px", "side_px"), [(1, 64), (96, 96)])
def test_a_model_that_only_edits_gets_a_reference_that_is_large_enough(least_px: int, side_px: int) -> None:
    values = probe(tasks={EDITING: ("guidance_scale",)}, max_references=3, least_reference_px=least_px)
    assert sizes(values) == {"reference_image": (side_px, side_px)}
    assert {n: v for n, v in values.items() if n != "reference_image"} == COMMON
    assert parse_request(StreamArguments(**values).tensors(), RequestLimits(), granularity_px=8).references
    assert probe(tasks={EDITING: (), TEXT_TO_IMAGE: ()}, max_references=1) == COMMON


@pytest.mark.parametrize(
    ("granularity_px", "upscaling", "size", "input_px"),
    [(8, 1, "64x64", 64), (8, 4, "64x64", 16), (48, 1, "96x96", 96), (128, 2, "128x128", 64)],
)
def test_it_is_as_small_as_the_model_takes_whatever_its_native_size(
    granularity_px: int, upscaling: int, size: str, input_px: int
) -> None:
    """At the native size it took a large model on a CPU a minute, and for good a third of the device."""
    values = probe(
        tasks={IMAGE_TO_IMAGE: ()}, native_size="2048x2048", granularity_px=granularity_px, upscaling=upscaling
    )
    assert values["size"] == size
    assert sizes(values) == {"image": (input_px, input_px)}
