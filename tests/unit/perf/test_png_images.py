"""The images that encoders are measured with are always the same, and as different as their names say."""

from __future__ import annotations

import numpy as np
import pytest

from perf.png_images import IMAGES


@pytest.mark.parametrize("name", IMAGES)
def test_a_image_has_the_size_asked_for_and_is_always_the_same(name: str) -> None:
    first, second = (IMAGES[name](70, 50) for _ in range(2))
    assert first.shape == (50, 70, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)


def test_neighbours_differ_from_nothing_to_anything() -> None:
    def roughness(name: str) -> float:
        return float(np.abs(np.diff(IMAGES[name](256, 256).astype(int), axis=1)).mean())

    flat, natural, photo_like, noise = map(roughness, ("flat", "natural", "photo-like", "noise"))
    assert flat == 0
    assert 1 < natural < 20
    assert 1 < photo_like < 20
    assert noise > 60
