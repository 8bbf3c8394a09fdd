"""A JPEG may lack its end marker, but none of its pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagegen.images.input.decode import decode_image, decode_mask, read_header
from imagegen.images.input.errors import ImageError
from imagegen.images.input.settings import InputSettings
from tests.image_files import encoded

SETTINGS = InputSettings()
END = b"\xff\xd9"
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
SMOOTH = Image.linear_gradient("L").resize((70, 50)).convert("RGB")
FLAT = Image.new("RGB", (70, 50), (250, 250, 250))
KINDS: dict[str, tuple[Image.Image, dict[str, Any]]] = {
    f"{name}, {kind}": (image, options)
    for name, image in {"noise": NOISE, "smooth": SMOOTH, "flat": FLAT, "grey": NOISE.convert("L")}.items()
    for kind, options in {
        "quality 40": {"quality": 40},
        "quality 100": {"quality": 100, "subsampling": 0},
        "optimised": {"quality": 75, "optimize": True},
        "progressive": {"quality": 75, "progressive": True},
        "fine progressive": {"quality": 100, "progressive": True},
        "restarts": {"quality": 75, "restart_marker_blocks": 2},
    }.items()
} | {"CMYK": (NOISE.convert("CMYK"), {})}


ALL_ZEROS = "flat, optimised"  # whose pixels cannot be told from the room that a download did not fill


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != ALL_ZEROS])
def test_an_end_marker_that_is_missing_does_not_cost_the_image(kind: str) -> None:
    image, options = KINDS[kind]
    data = encoded(image, "JPEG", **options)
    assert data.endswith(END)
    for end in (b"", b"\xff", b"\0" * 300, b"\xff\0"):
        assert read_header(data[:-2] + end, SETTINGS).size == (70, 50)
        assert np.array_equal(decode_image(data[:-2] + end, SETTINGS), decode_image(data, SETTINGS)), end
    assert np.array_equal(decode_mask(data[:-2], SETTINGS), decode_mask(data, SETTINGS))
    assert decode_image(data[:-2], SETTINGS, (8, 8)).shape == (8, 8, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_that_are_missing_do(kind: str) -> None:
    """Each cut of the last bytes, where no more than a part of the last block is missing, and some before."""
    image, options = KINDS[kind]
    data = encoded(image, "JPEG", **options)
    whole = decode_image(data, SETTINGS)
    begin, end = data.index(b"\xff\xda"), len(data) - 2
    refused = 0
    cuts = [*range(max(begin, end - 40), end), *range(begin, end, max(1, (end - begin) // 40))]
    for cut in cuts:
        try:
            pixels = decode_image(data[:cut], SETTINGS)
        except ImageError:
            refused += 1
        else:  # what is missing there fills up the last byte, or makes no difference
            assert np.array_equal(pixels, whole), (cut, end)
    assert refused >= 0.8 * len(cuts)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "noise" in kind and "progressive" not in kind])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_an_end_marker_does_not_hide_that_pixels_are_missing(kind: str, kept: float) -> None:
    """Without restarts: from one on the decoder finds its way again."""
    image, options = KINDS[kind]
    data = encoded(image, "JPEG", **options)
    cut = data[: int(len(data) * kept)].rstrip(b"\xff") + END
    for size in (None, (8, 8)):
        with pytest.raises(ImageError, match="damaged or incomplete"):
            decode_image(cut, SETTINGS, size)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_images_of_the_grey_that_stands_for_missing_pixels_are_accepted(mode: str) -> None:
    image = Image.new("RGB", (70, 50), (128, 128, 128)).convert(mode)
    for options in ({}, {"progressive": True}, {"restart_marker_blocks": 1}):
        data = encoded(image, "JPEG", **options)
        for file in (data, data[:-2]):
            assert abs(decode_image(file, SETTINGS).astype(int) - 128).max() <= 2


def test_a_file_that_goes_on_with_zeros_is_refused() -> None:
    """As a download leaves it that had its room reserved: zeros are pixels, too."""
    data = encoded(SMOOTH, "JPEG", quality=90)
    with pytest.raises(ImageError, match="damaged or incomplete"):
        decode_image(data[: len(data) * 2 // 3] + bytes(len(data)), SETTINGS)


def test_the_end_of_another_image_is_not_that_of_the_first() -> None:
    data = encoded(NOISE, "JPEG")
    with pytest.raises(ImageError, match="damaged or incomplete"):
        decode_image(data[: len(data) // 2] + encoded(FLAT, "JPEG"), SETTINGS)


def test_scans_that_are_missing_are_noticed() -> None:
    data = encoded(NOISE, "JPEG", progressive=True)
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    for cut in scans[1:]:
        with pytest.raises(ImageError, match="damaged or incomplete"):
            decode_image(data[:cut], SETTINGS)
