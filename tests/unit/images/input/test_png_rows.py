"""Pixel data that are too short are noticed, whatever the kind of a PNG."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from imagegen.images.input.decode import decode_image, decode_mask
from imagegen.images.input.errors import ImageError
from imagegen.images.input.png_rows import has_all_rows
from imagegen.images.input.settings import InputSettings
from tests.image_files import chunk, png_of

SETTINGS = InputSettings()
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # by colour type
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def blank_rows(size: tuple[int, int], kind: tuple[int, int, int]) -> bytes:
    """All-zero pixel data, laid out by sorting each pixel into its Adam7 pass: not by the formula of the code."""
    depth, colour_type, interlaced = kind
    pattern = ["16462646", "77777777", "56565656", "77777777", "36463646", "77777777", "56565656", "77777777"]
    rows: dict[tuple[str, int], int] = {}
    for y, x in itertools.product(range(size[1]), range(size[0])):
        row = (pattern[y % 8][x % 8] if interlaced else "", y)
        rows[row] = rows.get(row, 0) + 1
    return b"".join(bytes(1 + (pixels * depth * CHANNELS[colour_type] + 7) // 8) for pixels in rows.values())


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize(("colour_type", "depth"), [(c, d) for c, depths in DEPTHS.items() for d in depths])
def test_black_images_of_every_kind_are_accepted_if_complete(colour_type: int, depth: int, interlaced: int) -> None:
    palette = chunk(b"PLTE", bytes(6)) if colour_type == 3 else b""
    kind = depth, colour_type, interlaced
    for size in itertools.product((1, 2, 3, 5, 8, 9), (1, 2, 4, 5, 7, 17)):
        rows = blank_rows(size, kind)
        whole = png_of(size, zlib.compress(rows), kind, palette)
        assert decode_image(whole, SETTINGS).shape == (size[1], size[0], 3)
        assert has_all_rows(whole)
        assert not has_all_rows(png_of(size, zlib.compress(rows[:-1]), kind, palette))


@pytest.mark.parametrize("decode", [decode_image, decode_mask])
@pytest.mark.parametrize("rows", [0, 1, 4, 7])
def test_a_png_of_too_few_rows_is_refused(decode: Callable[..., object], rows: int) -> None:
    """Every checksum is right, and Pillow leaves the other rows black."""
    pixels = b"".join(b"\0" + bytes([50 + row] * 4) for row in range(rows))
    with pytest.raises(ImageError, match=r"^invalid_image: is a damaged or incomplete PNG file"):
        decode(png_of((4, 8), zlib.compress(pixels)), SETTINGS)


@pytest.mark.parametrize("height", [8, 9])
def test_an_interlaced_png_without_its_last_pass_is_refused(height: int) -> None:
    """Its last row may be filled all the same."""
    rows = bytearray(blank_rows((8, height), (8, 0, 1)))
    last_pass = 9 * (height // 2)
    with pytest.raises(ImageError, match="damaged or incomplete"):
        decode_image(png_of((8, height), zlib.compress(bytes(rows[:-last_pass])), (8, 0, 1)), SETTINGS)


def test_every_cut_of_the_zlib_stream_is_refused() -> None:
    """Up to its checksum, before which all pixels are there."""
    noise = np.random.default_rng(0).integers(1, 256, (8, 40), dtype=np.uint8)
    stream = zlib.compress(b"".join(b"\0" + row.tobytes() for row in noise))
    for kept in range(len(stream) - 5):
        with pytest.raises(ImageError, match="damaged or incomplete"):
            decode_image(png_of((40, 8), stream[:kept]), SETTINGS)


def test_the_check_of_rows_stays_small_for_a_stream_that_does_not() -> None:
    bomb = zlib.compress(bytes(1 << 28), 9)
    assert has_all_rows(png_of((1000, 1000), bomb))
