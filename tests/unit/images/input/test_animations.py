"""Of an animation the first frame counts; what of the canvas it leaves out is white, as what is transparent is."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagegen.images.input.decode import decode_image, decode_mask, has_transparency, read_header
from imagegen.images.input.errors import ImageError, TooLarge
from imagegen.images.input.settings import InputSettings
from tests.image_files import (
    PNG_SIGNATURE,
    animated_webp,
    chunk,
    encoded,
    frame_control,
    png_chunks,
    riff,
    webp_chunk,
    webp_frame,
    webp_header,
)

SETTINGS = InputSettings()
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)
FRAME = Image.new("RGB", (4, 2), RED)
SECOND = Image.new("RGB", (10, 8), BLUE)


def animated_png(frame: Image.Image, size: tuple[int, int], offset: tuple[int, int]) -> bytes:
    """Two frames: `frame`, and all of the canvas in blue."""
    (_, header), *parts = png_chunks(encoded(frame))
    pixels = b"".join(content for name, content in parts if name == b"IDAT")
    palette = b"".join(chunk(*part) for part in parts if part[0] == b"PLTE")
    second = b"".join(content for name, content in png_chunks(encoded(SECOND.resize(size))) if name == b"IDAT")
    return PNG_SIGNATURE + b"".join(
        [
            chunk(b"IHDR", struct.pack(">II", *size) + header[8:]),
            palette,
            chunk(b"acTL", struct.pack(">II", 2, 0)),
            frame_control(0, frame.size, offset),
            chunk(b"IDAT", pixels),
            frame_control(1, size, (0, 0)),
            chunk(b"fdAT", struct.pack(">I", 2) + second),
            chunk(b"IEND"),
        ]
    )


def animations(frame: Image.Image, offset: tuple[int, int]) -> dict[str, bytes]:
    frames = webp_frame(frame, offset, lossless=True), webp_frame(SECOND, (0, 0), lossless=True)
    alpha = 0x10 * (frame.mode == "RGBA")
    return {
        "APNG": animated_png(frame, SECOND.size, offset),
        "WebP": animated_webp(SECOND.size, *frames, flags=0x02 | alpha),
        "WebP, transparent": animated_webp(SECOND.size, *frames, flags=0x12),
        "WebP, green background": animated_webp(SECOND.size, *frames, background=b"\0\xff\0\xff", flags=0x02 | alpha),
        "WebP, lossy": animated_webp(SECOND.size, webp_frame(frame, offset, quality=100), *frames[1:], flags=0x12),
    }


@pytest.mark.parametrize("kind", animations(FRAME, (0, 0)))
@pytest.mark.parametrize("offset", [(0, 0), (6, 6), (2, 4), (6, 0), (0, 6)])
def test_what_the_first_frame_leaves_out_is_white(kind: str, offset: tuple[int, int]) -> None:
    data = animations(FRAME, offset)[kind]
    header = read_header(data, SETTINGS)
    assert (header.size, header.frames) == ((10, 8), 2)
    expected = np.full((8, 10, 3), 255)
    expected[offset[1] : offset[1] + 2, offset[0] : offset[0] + 4] = RED
    assert abs(decode_image(data, SETTINGS).astype(int) - expected).max() <= 2
    assert has_transparency(data, SETTINGS)
    assert decode_mask(data, SETTINGS).tolist() == np.where(expected[..., 1] == 0, 0, 255).tolist()


@pytest.mark.parametrize("kind", ["APNG", "WebP"])
def test_what_is_transparent_in_the_frame_is_white_too(kind: str) -> None:
    frame = FRAME.convert("RGBA")
    frame.putpixel((0, 0), (0, 0, 0, 0))
    pixels = decode_image(animations(frame, (2, 2))[kind], SETTINGS)
    assert [tuple(pixels[2, x].tolist()) for x in (1, 2, 3)] == [WHITE, WHITE, RED]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "I;16"])
def test_a_frame_of_any_kind_of_png_is_placed(mode: str) -> None:
    frame = Image.new("I;16", (4, 2), 60 << 8) if mode == "I;16" else Image.new("L", (4, 2), 0).convert(mode)
    pixels = decode_image(animated_png(frame, (10, 8), (2, 2)), SETTINGS)
    assert np.all(pixels[2:4, 2:6] == (60 if mode == "I;16" else 0))
    assert pixels.astype(int).sum() == 255 * 3 * (80 - 8) + 8 * 3 * (60 if mode == "I;16" else 0)


def test_the_orientation_turns_the_whole_canvas() -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    exif = tags.tobytes()
    frames = webp_frame(FRAME, (0, 0), lossless=True), webp_frame(SECOND, (0, 0), lossless=True)
    data = riff(webp_header((10, 8), 0x0A), webp_chunk(b"ANIM", bytes(6)), *frames, webp_chunk(b"EXIF", exif))
    assert read_header(data, SETTINGS).size == (8, 10)
    pixels = decode_image(data, SETTINGS)
    assert np.all(pixels[:4, 6:] == RED)
    assert np.all(pixels[4:] == WHITE)


def test_a_default_image_that_is_no_frame_covers_the_canvas() -> None:
    """It stands in front of the first control chunk, and is what programs without animations show."""
    parts = png_chunks(animated_png(SECOND, SECOND.size, (0, 0)))
    default = [parts[0], parts[1], *parts[3:4], (b"fcTL", frame_control(0, (4, 2), (2, 2))[8:-4]), *parts[5:]]
    data = PNG_SIGNATURE + b"".join(chunk(*part) for part in default)
    assert read_header(data, SETTINGS).size == (10, 8)
    assert np.all(decode_image(data, SETTINGS) == BLUE)


@pytest.mark.parametrize("frame", [((0, 0), (0, 0)), ((4, 0), (2, 2)), ((4, 2), (8, 0)), ((2**32 - 1, 2), (0, 0))])
def test_a_control_chunk_that_cannot_be_does_not_cost_pixels_that_cover_the_canvas(frame: Any) -> None:
    (_, header), *parts = png_chunks(encoded(SECOND))
    control = chunk(b"acTL", struct.pack(">II", 1, 0)) + frame_control(0, *frame)
    data = PNG_SIGNATURE + chunk(b"IHDR", header) + control + b"".join(chunk(*part) for part in parts)
    assert np.all(decode_image(data, SETTINGS) == BLUE)


@pytest.mark.parametrize("offset", [(8, 0), (0, 8), (2**31 - 2, 0), (10, 8)])
def test_a_frame_of_a_png_outside_of_the_canvas_is_refused(offset: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="damaged or incomplete"):
        decode_image(animated_png(FRAME, SECOND.size, offset), SETTINGS)


@pytest.mark.parametrize("offset", [(8, 0), (0, 8), (2**25 - 2, 0), (10, 8)])
def test_a_frame_of_a_webp_outside_of_the_canvas_is_refused(offset: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="damaged or incomplete"):
        decode_image(animated_webp(SECOND.size, webp_frame(FRAME, offset)), SETTINGS)


def test_a_frame_of_another_size_than_its_pixels_is_refused() -> None:
    frame = webp_frame(FRAME, (0, 0), lossless=True)
    for width in (3, 5):
        wrong = frame[:14] + (width - 1).to_bytes(3, "little") + frame[17:]
        with pytest.raises(ImageError, match="damaged or incomplete"):
            decode_image(animated_webp((10, 8), wrong), SETTINGS)


def test_a_canvas_is_limited_as_an_image_is() -> None:
    """Though its first frame is small."""
    for data in (animated_webp((10_000, 10_000), webp_frame(FRAME, (0, 0))), animated_png(FRAME, (60, 60), (0, 0))):
        with pytest.raises(TooLarge):
            decode_image(data, InputSettings(max_image_pixels=1000))


@pytest.mark.parametrize("kind", ["no frames", "cut in the first frame"])
def test_an_animation_without_a_whole_first_frame_is_refused(kind: str) -> None:
    whole = webp_frame(Image.effect_noise((10, 8), 90).convert("RGB"), (0, 0), lossless=True)
    data = animated_webp((10, 8)) if kind == "no frames" else animated_webp((10, 8), whole[: len(whole) // 2])
    with pytest.raises(ImageError, match="damaged or incomplete"):
        decode_image(data, SETTINGS)


def test_later_frames_may_be_damaged() -> None:
    data = animated_webp((4, 2), webp_frame(FRAME, (0, 0), lossless=True), webp_frame(SECOND, (0, 0))[:60])
    assert np.all(decode_image(data, SETTINGS) == RED)
