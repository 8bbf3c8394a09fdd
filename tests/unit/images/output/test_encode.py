"""Encoded frames open again with the right size and pixels, and compression does what the table says."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from imagegen.images.output.encode import encode

Frame = npt.NDArray[np.uint8]


def photo(height: int = 48, width: int = 64) -> Frame:
    """A frame as smooth as a photo, with a little noise."""
    rows, columns = np.mgrid[0:height, 0:width]
    smooth = np.stack([rows * 4, columns * 3, rows + columns], axis=-1)
    noise = np.random.default_rng(0).integers(0, 12, smooth.shape)
    frame: Frame = ((smooth + noise) % 256).astype(np.uint8)
    return frame


def decode(data: bytes) -> Frame:
    decoded: Frame = np.asarray(Image.open(io.BytesIO(data)))
    return decoded


def zlib_effort(png: bytes) -> int:
    """FLEVEL of RFC 1950, from the first bytes of the pixel data: 0 fastest, 1 fast, 2 default, 3 slowest."""
    start = png.index(b"IDAT") + 4
    return png[start + 1] >> 6


def distance(one: Frame, other: Frame) -> float:
    return float(np.abs(one.astype(float) - other).mean())


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("compression", [None, 0, 50, 100])
def test_every_format_opens_again_with_its_size_and_mode(output_format: str, compression: int | None) -> None:
    with Image.open(io.BytesIO(encode(photo(24, 40), output_format, compression))) as image:
        assert image.format == output_format.upper()
        assert image.size == (40, 24)
        assert image.mode == "RGB"
        image.load()


def test_png_is_lossless_at_every_compression() -> None:
    frame = photo(16, 20)
    for compression in (None, *range(101)):
        assert np.array_equal(decode(encode(frame, "png", compression)), frame), compression


def test_png_compression_is_zlib_effort_in_ninths() -> None:
    """75 is level 7: zlib marks levels 0..1, 2..5, 6 and 7..9 in the data."""
    marks = [0, 0, 1, 1, 1, 1, 2, 3, 3, 3]
    efforts = [zlib_effort(encode(photo(8, 8), "png", compression)) for compression in range(101)]
    assert efforts == [marks[round(compression * 0.09)] for compression in range(101)]
    assert (efforts[70], efforts[75]) == (2, 3)


def test_more_png_effort_is_smaller_and_the_default_is_far_smaller_than_none() -> None:
    frame = photo(128, 128)
    none, default, most = (len(encode(frame, "png", compression)) for compression in (0, None, 100))
    assert none > frame.nbytes
    assert default < 0.8 * none
    assert most < 0.8 * none


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_more_quality_is_larger_and_closer(output_format: str) -> None:
    frame = photo(96, 96)
    encoded = [encode(frame, output_format, quality) for quality in (0, 20, 40, 60, 80, 99)]
    sizes = [len(data) for data in encoded]
    assert sizes == sorted(sizes)
    distances = [distance(decode(data), frame) for data in encoded]
    assert distances == sorted(distances, reverse=True)


@pytest.mark.parametrize(("output_format", "quality"), [("jpeg", 90), ("webp", 80)])
def test_the_default_quality_is_the_documented_one(output_format: str, quality: int) -> None:
    assert encode(photo(), output_format, None) == encode(photo(), output_format, quality)


def test_webp_is_lossless_at_100_and_only_there() -> None:
    assert np.array_equal(decode(encode(photo(), "webp", 100)), photo())
    assert not np.array_equal(decode(encode(photo(), "webp", 99)), photo())


def test_jpeg_keeps_a_frame_close() -> None:
    assert distance(decode(encode(photo(), "jpeg", 100)), photo()) < 3


def test_a_frame_that_is_a_view_encodes_as_its_copy() -> None:
    frames = np.stack([photo(), photo()[::-1]])
    view = frames[1, :, ::-1]
    assert np.array_equal(decode(encode(view, "png", None)), view)


@pytest.mark.parametrize(("output_format", "mode"), [("jpeg", "L"), ("webp", "RGB"), ("png", "L")])
def test_grey(output_format: str, mode: str) -> None:
    """WebP knows no grey."""
    grey = photo()[:, :, :1]
    with Image.open(io.BytesIO(encode(grey, output_format, 100))) as image:
        assert image.mode == mode
        assert distance(np.asarray(image.convert("L")), grey[:, :, 0]) < 2


def test_jpeg_lays_what_is_see_through_over_white() -> None:
    frame = np.zeros((16, 32, 4), np.uint8)
    frame[:, 16:, 3] = 255  # black: see-through on the left, solid on the right
    with Image.open(io.BytesIO(encode(frame, "jpeg", 100))) as image:
        assert image.mode == "RGB"
        pixels = np.asarray(image)
    assert pixels[:, :8].min() > 250
    assert pixels[:, 24:].max() < 5


def test_webp_keeps_alpha_and_at_100_also_the_colours_under_it() -> None:
    frame = np.dstack([photo(), np.random.default_rng(1).integers(0, 256, (48, 64), dtype=np.uint8)])
    frame[:8, :, 3] = 0
    assert np.array_equal(decode(encode(frame, "webp", 100)), frame)
    assert np.array_equal(decode(encode(frame, "webp", None))[:, :, 3], frame[:, :, 3])
