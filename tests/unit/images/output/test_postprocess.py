"""A request's frames come out as bytes, base64 or addresses, with the metadata; what cannot be done says why."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagegen.api.errors import InternalError, InvalidArgument

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 40, 56, 3), dtype=np.uint8)
New = Callable[..., Any]


def pixels(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_bytes_in_the_order_of_the_frames(new: New) -> None:
    images, metadata = new()(FRAMES)
    assert [np.array_equal(pixels(image), frame) for image, frame in zip(images, FRAMES, strict=True)] == [True] * 3
    assert set(metadata.pop("milliseconds")) == {"denoise", "postprocess"}
    assert list(metadata.items()) == [
        ("model", "m"),
        ("task", "text_to_image"),
        ("size", "56x40"),
        ("num_inference_steps", 4),
        ("computed_steps", 4),
        ("step_cache", "off"),
        ("guidance_scale", 7.5),
        ("strength", None),
        ("scheduler", "euler"),
        ("loras", []),
        ("references", 0),
        ("controls", []),
        ("mean_batch_rows", 2.0),
        ("warnings", ["slow"]),
        ("output_format", "png"),
    ]


def test_base64_is_that_of_the_bytes(new: New) -> None:
    run = new()
    assert run(FRAMES, response_format="b64_json")[0] == [base64.b64encode(image) for image in run(FRAMES)[0]]


def test_addresses_lead_to_the_stored_bytes(new: New, tmp_path: Path) -> None:
    run = new(output_url=f"file://{tmp_path}", public_base_url="http://localhost/p")
    addresses, metadata = run(FRAMES, response_format="url", user="al/ice", request_id="r 1", output_format="webp")
    for address, image in zip(addresses, run(FRAMES, output_format="webp")[0], strict=True):
        key = address.decode().removeprefix("http://localhost/p/")
        assert re.fullmatch(r"users/al_ice-[0-9a-f]{12}/generations/r_1-[0-9a-f]{12}/[0-9a-f]{32}\.webp", key), key
        assert (tmp_path / key).read_bytes() == image
    assert set(metadata["milliseconds"]) == {"denoise", "store", "postprocess"}


def test_files_say_nothing_unless_asked_and_then_how_they_were_made(new: New) -> None:
    assert "parameters" not in Image.open(io.BytesIO(new()(FRAMES, prompt="a red circle")[0][0])).info
    (first, second), _ = new(embed_parameters=True)(FRAMES[:2], prompt="a red circle", negative_prompt="blue")
    for image, seed in ((first, 7), (second, 8)):
        text = Image.open(io.BytesIO(image)).info["parameters"]
        settings = f"Steps: 4, Sampler: euler, CFG scale: 7.5, Seed: {seed}, Size: 56x40, Model: m"
        assert text == f"a red circle\nNegative prompt: blue\n{settings}"


def test_an_address_without_a_store_is_refused(new: New) -> None:
    with pytest.raises(InvalidArgument, match=r"response_format: .url. needs a result store"):
        new()(FRAMES, response_format="url")


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_alpha(new: New, channels: int) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (2, 9, 11, channels), dtype=np.uint8)
    for image, frame in zip(new()(frames)[0], frames, strict=True):
        assert np.array_equal(pixels(image).reshape(frame.shape), frame)


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((1, 8, 8, 3), np.float32),
        np.zeros((1, 8, 8, 2), np.uint8),
        np.zeros((1, 3, 8, 8), np.uint8),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
        np.zeros((1, 0, 8, 3), np.uint8),
    ],
)
def test_frames_of_another_kind_are_an_internal_error_that_says_so(new: New, frames: Any) -> None:
    with pytest.raises(
        InternalError, match=rf"internal_error: frames: {re.escape(f'{frames.dtype} {list(frames.shape)}')}; uint8"
    ):
        new()(frames)
