"""Edges are white lines where brightness or colour changes steeply."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from imagegen.images.control.canny import canny_edges


def step(left: tuple[int, int, int], right: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """An image of two colours, [32, 64, 3], that meet in its middle."""
    pixels = np.empty((32, 64, 3), np.uint8)
    pixels[:, :32], pixels[:, 32:] = left, right
    return pixels


def test_the_outline_of_a_square_is_a_thin_white_line() -> None:
    pixels = np.zeros((64, 80, 3), np.uint8)
    pixels[16:48, 20:60] = 255
    edges = canny_edges(pixels)
    assert edges.dtype == np.uint8
    assert edges.shape == (64, 80, 3)
    assert np.array_equal(edges, np.repeat(edges[:, :, :1], 3, axis=2))
    assert set(np.unique(edges)) == {0, 255}
    assert edges[20:44, 24:56].max() == edges[:14].max() == edges[:, :18].max() == 0
    assert (edges[32, :40, 0] > 0).sum() == (edges[32, 40:, 0] > 0).sum() == 1
    assert (edges[:32, 40, 0] > 0).sum() == (edges[32:, 40, 0] > 0).sum() == 1


@pytest.mark.parametrize(("brightness", "is_edge"), [(0, False), (24, False), (49, False), (51, True), (255, True)])
def test_a_step_is_an_edge_from_a_gradient_of_200(brightness: int, is_edge: bool) -> None:
    edges = canny_edges(step((0, 0, 0), (brightness, brightness, brightness)))  # Sobel's gradient is 4 x brightness
    assert bool(edges.any()) == is_edge


def test_a_weaker_edge_counts_from_a_gradient_of_100_where_it_continues_a_strong_one() -> None:
    continued = step((0, 0, 0), (30, 30, 30))
    continued[:16, 32:] = 255
    weaker = step((0, 0, 0), (20, 20, 20))
    weaker[:16, 32:] = 255
    assert canny_edges(continued)[28].any()
    assert not canny_edges(weaker)[28].any()


def test_colours_of_the_same_brightness_have_an_edge() -> None:
    assert canny_edges(step((255, 0, 0), (0, 130, 0))).any()


def test_images_of_others_are_taken_as_they_lie_in_memory_and_left_as_they_are() -> None:
    pixels = step((0, 0, 0), (255, 255, 255))
    pixels.flags.writeable = False
    assert np.array_equal(canny_edges(pixels[:, ::-1]), canny_edges(pixels[:, ::-1].copy()))
    assert np.array_equal(pixels, step((0, 0, 0), (255, 255, 255)))
