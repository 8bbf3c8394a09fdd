"""Edges as OpenCV's Canny finds them, and their overlap."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from checkpoint import edges, paint
from checkpoint.scenes import Background, Placed


def square(left: int, side_px: int = 40) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    image = np.zeros((64, 64, 3), np.uint8)
    image[10 : 10 + side_px, left : left + side_px] = 255
    return image


def test_a_square_has_a_closed_line_one_pixel_wide() -> None:
    found = edges.canny(square(10))
    # What cv2.Canny(image, 100, 200) of opencv-python-headless 4.11.0 gives: two corners are cut.
    assert found[9, 11:49].all() or found[10, 11:49].all()
    assert 4 * 40 - 4 <= found.sum() <= 4 * 40 + 4
    inside = found[14:46, 14:46]
    assert not inside.any()


@pytest.mark.parametrize(("levels", "seen"), [(10, False), (40, False), (60, True)])
def test_a_step_is_seen_from_fifty_levels_on(levels: int, seen: bool) -> None:
    image = np.full((32, 32, 3), 100, np.uint8)
    image[:, 16:, 2] += np.uint8(levels)  # in one channel alone, and not smoothed over the others
    found = edges.canny(image)
    assert found.any() == seen
    assert not found[:, :14].any()
    if seen:
        assert (found.sum(1) == 1).all()


def test_weak_edges_count_where_they_go_on_from_strong_ones() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[:16, 16:] = 60
    image[16:, 16:] = 40
    assert edges.canny(image).any(1)[2:-2].all()
    image[:16, 16:] = 40
    assert not edges.canny(image).any()


def test_red_and_blue_of_one_brightness_have_an_edge_between_them() -> None:
    scene = paint.image([Placed("circle", "red", 0.5, 0.5, 0.25)], Background("plain", ("blue",)), 128, Random(0))
    found = edges.canny(scene)
    rows, columns = np.nonzero(found)
    away = np.hypot(rows + 0.5 - 64, columns + 0.5 - 64)
    assert np.abs(away - 32).max() < 2
    assert 180 <= found.sum() <= 260


def test_drawn_edges_are_white_on_black() -> None:
    found = edges.canny(square(10))
    lines = edges.as_image(found)
    assert lines.shape == (64, 64, 3)
    assert lines.dtype == np.uint8
    assert set(np.unique(lines)) == {0, 255}
    assert ((lines == 255).all(2) == found).all()


def test_overlap_forgives_two_pixels() -> None:
    given, near, far = (edges.canny(square(left)) for left in (10, 12, 20))
    nothing = np.zeros_like(given)
    assert edges.overlap(given, given) == 1
    assert edges.overlap(near, given) == 1
    assert 0.3 < edges.overlap(far, given) < 0.9
    assert edges.overlap(nothing, given) == edges.overlap(given, nothing) == 0
    assert edges.overlap(nothing, nothing) == 1
    assert edges.overlap(given | far, given) < 1
    assert edges.overlap(given, given | far) < 1
