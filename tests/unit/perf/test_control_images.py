"""A control image is that of its seed, of the asked size, with some lines and much that is none."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from perf.control_images import edges_png


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_edges_are_white_lines_on_black(seed: int) -> None:
    file = edges_png(seed, 64)
    assert file == edges_png(seed, 64)
    with Image.open(io.BytesIO(file), formats=["PNG"]) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (64, 64, 3)
    assert set(np.unique(pixels)) == {0, 255}
    assert 0 < pixels.mean() / 255 < 0.2


def test_each_seed_has_its_own_edges() -> None:
    assert len({edges_png(seed, 64) for seed in range(20)}) == 20
