"""What an image was made with can be read from its file, in every format, and never breaks it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyspng
import pytest
from PIL import Image

from imagegen.api.reports import LoraReport
from imagegen.images.output.encode import encode
from imagegen.images.output.file_metadata import FileText, file_text
from tests.unit.reports import generation_report

REPORT = generation_report(model="sdxl", task="text_to_image", size="64x48", num_inference_steps=20)
SETTINGS = "Steps: 20, Sampler: euler, CFG scale: 7.5, Seed: 7, Size: 64x48, Model: sdxl"
FRAME = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
PNG_WAYS = [("png", None, "isal"), ("png", None, "pillow"), ("png", 50, "auto")]
WAYS: list[tuple[str, int | None, str]] = [*PNG_WAYS, ("jpeg", None, "auto"), ("webp", None, "auto")]


def read(data: bytes) -> str | None:
    """The text as image tools read it: `parameters` of a PNG, else the EXIF user comment."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        if image.format == "PNG":
            text: Any = image.info.get("parameters")
            return None if text is None else str(text)
        comment = image.getexif().get_ifd(0x8769).get(0x9286)
    if comment is None:
        return None
    assert comment.startswith(b"UNICODE\0")
    return str(comment[8:].decode("utf-16-be"))


@pytest.mark.parametrize(("output_format", "compression", "encoder"), WAYS)
@pytest.mark.parametrize("prompt", ["a red circle", "ein Kätzchen", "红色的圆 🐈\nin two lines"])
def test_prompt_and_settings_can_be_read_again(
    output_format: str, compression: int | None, encoder: str, prompt: str
) -> None:
    text = file_text(prompt, "blurry", 7, REPORT)
    data = encode(FRAME, output_format, compression, encoder, text)
    assert read(data) == f"{prompt}\nNegative prompt: blurry\n{SETTINGS}"
    assert read(encode(FRAME, output_format, compression, encoder)) is None


def test_a_step_cache_is_named_for_the_image_is_not_the_same_without() -> None:
    text = file_text("a red circle", "", 7, REPORT.model_copy(update={"step_cache": "fast"}))
    assert text.settings == SETTINGS.replace(", Model", ", Step cache: fast, Model")
    assert "Step cache" not in file_text("a red circle", "", 7, REPORT).settings


@pytest.mark.parametrize(("output_format", "compression", "encoder"), PNG_WAYS)
def test_the_pixels_stay_the_same(output_format: str, compression: int | None, encoder: str) -> None:
    data = encode(FRAME, output_format, compression, encoder, FileText("p\n" * 1000, "s"))
    assert np.array_equal(pyspng.load(data), FRAME)


@pytest.mark.parametrize(("output_format", "compression", "encoder"), WAYS)
def test_the_longest_prompts_fit(output_format: str, compression: int | None, encoder: str) -> None:
    """64 000 characters that take two UTF-16 units each: twice what a JPEG segment can hold. The settings stay."""
    text = file_text("🐈" * 32_000, "🐕" * 32_000, 7, REPORT)
    got = read(encode(FRAME, output_format, compression, encoder, text))
    assert got is not None
    assert got.startswith("🐈" * 15_000)
    assert got.endswith(f"…\n{SETTINGS}" if output_format != "png" else f"🐕\n{SETTINGS}")


def test_what_does_not_apply_is_left_out() -> None:
    bare = file_text("x", "", 1, REPORT.model_copy(update={"guidance_scale": None, "strength": 0.5}))
    assert bare == FileText(
        "x", "Steps: 20, Sampler: euler, Seed: 1, Size: 64x48, Denoising strength: 0.5, Model: sdxl"
    )


@pytest.mark.parametrize(
    ("name", "scale", "tag"),
    [
        ("outline", 0.8, "<lora:outline:0.8>"),
        ("outline", 1.0, "<lora:outline:1>"),
        ("org/outline", -0.25, "<lora:org/outline:-0.25>"),
        ("ö b", 0.0, "<lora:ö b:0>"),
        ("a:b>c<d\r\ne", 1.0, "<lora:a_b_c_d__e:1>"),
    ],
)
def test_an_adapter_is_a_tag_behind_the_prompt(name: str, scale: float, tag: str) -> None:
    report = REPORT.model_copy(update={"loras": (LoraReport(name=name, scale=scale),)})
    assert file_text("a cat", "blurry", 7, report).prompts == f"a cat {tag}\nNegative prompt: blurry"
    assert read(encode(FRAME, "png", None, "isal", file_text("a cat", "", 7, report))) == f"a cat {tag}\n{SETTINGS}"


def test_several_adapters_are_several_tags() -> None:
    loras = (LoraReport(name="outline", scale=0.8), LoraReport(name="dusk", scale=1.0))
    report = REPORT.model_copy(update={"loras": loras})
    assert file_text("a cat", "", 7, report).prompts == "a cat <lora:outline:0.8> <lora:dusk:1>"


def test_a_nul_in_a_prompt_does_not_end_the_text() -> None:
    assert read(encode(FRAME, "png", None, "isal", file_text("a\0b", "", 7, REPORT))) == f"ab\n{SETTINGS}"
