"""The probe asks for a task that the model does, with the inputs that it needs and takes."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from imagegen.openai.probe import probe_values
from imagegen_client import IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE, StreamArguments
from tests.unit.client.test_client_description import DESCRIPTION

COMMON = {
    "prompt": "readiness",
    "num_inference_steps": 2,
    "size": "auto",
    "response_format": "b64_json",
    "output_format": "jpeg",
}


def probe(size: str = "auto", **description: Any) -> dict[str, Any]:
    return probe_values(replace(DESCRIPTION, **description), 2, size)


def sizes(values: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {n: Image.open(io.BytesIO(v)).size for n, v in values.items() if isinstance(v, bytes)}


def test_text_is_enough_where_the_model_takes_it_and_where_the_server_does_not_tell() -> None:
    tasks: dict[str, tuple[str, ...]] = {INPAINTING: ("strength",), TEXT_TO_IMAGE: ()}
    assert probe(tasks=tasks) == COMMON
    assert probe_values(None, 2, "auto") == COMMON


def test_a_model_that_only_inpaints_gets_an_image_and_a_mask_of_its_native_size() -> None:
    values = probe(tasks={INPAINTING: ("strength",)})
    assert sizes(values) == {"image": (64, 32), "mask": (64, 32)}
    assert values["strength"] == 1.0
    assert {n: v for n, v in values.items() if n in COMMON} == COMMON
    mask = Image.open(io.BytesIO(values["mask"]))
    assert mask.getextrema() == (255, 255)
    assert StreamArguments(**values).tensors()["image"].shape == (1,)


def test_a_model_that_follows_instructions_gets_an_image_and_no_strength() -> None:
    values = probe(tasks={IMAGE_TO_IMAGE: ("guidance_scale",), INPAINTING: ()})
    assert sizes(values) == {"image": (64, 32)}
    assert "strength" not in values


@pytest.mark.parametrize(
    ("size", "native", "upscaling", "expected"),
    [
        ("auto", "512x512", 4, (128, 128)),
        ("256x128", "512x512", 4, (64, 32)),
        ("256x128", "512x512", 1, (256, 128)),
        ("auto", "unknown", 1, (512, 512)),
    ],
)
def test_the_image_is_that_from_which_an_image_of_the_size_comes(
    size: str, native: str, upscaling: int, expected: tuple[int, int]
) -> None:
    values = probe(size, tasks={IMAGE_TO_IMAGE: ()}, native_size=native, upscaling=upscaling)
    assert sizes(values) == {"image": expected}
    assert values["size"] == size


def test_an_image_for_a_large_model_is_small_on_the_wire() -> None:
    assert len(probe(tasks={IMAGE_TO_IMAGE: ()}, native_size="2048x2048")["image"]) < 200_000
