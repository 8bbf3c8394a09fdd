"""Proportions are kept, and what sticks out goes evenly from both sides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from imagegen.images.input.resize import cover, draft_size

NEAREST, LANCZOS = Image.Resampling.NEAREST, Image.Resampling.LANCZOS


def test_the_same_size_is_the_same_image() -> None:
    image = Image.new("RGB", (7, 5))
    assert cover(image, (7, 5), LANCZOS) is image


def test_what_sticks_out_is_cut_off_evenly() -> None:
    columns = np.tile(np.arange(8, dtype=np.uint8), (4, 1))
    assert np.asarray(cover(Image.fromarray(columns), (4, 4), NEAREST)).tolist() == [[2, 3, 4, 5]] * 4
    rows = columns.T
    assert (
        np.asarray(cover(Image.fromarray(rows), (4, 4), NEAREST)).tolist() == np.tile([[2], [3], [4], [5]], 4).tolist()
    )


def test_it_is_pillows_fit() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    for size in ((12, 16), (16, 16), (64, 20)):
        expected = np.asarray(ImageOps.fit(image, size, LANCZOS)).astype(int)
        assert abs(np.asarray(cover(image, size, LANCZOS)).astype(int) - expected).max() <= 1


@given(*[st.integers(1, 300)] * 4)
def test_any_size_covers_any_other(width: int, height: int, to_width: int, to_height: int) -> None:
    image = Image.new("L", (width, height), 200)
    shaped = cover(image, (to_width, to_height), NEAREST)
    assert shaped.size == (to_width, to_height)
    assert shaped.getextrema() == (200, 200)


@pytest.mark.parametrize(
    ("original", "size", "least"),
    [
        ((4000, 3000), (1000, 750), (1500, 1125)),
        ((4000, 3000), (750, 750), (1500, 1125)),
        ((10, 10), (20, 10), (30, 30)),
    ],
)
def test_a_draft_keeps_half_as_much_again(
    original: tuple[int, int], size: tuple[int, int], least: tuple[int, int]
) -> None:
    assert draft_size(original, size) == least
