"""All images of a request get one size, with their proportions kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagegen.api.limits import RequestLimits, RequestRules
from imagegen.images.input.load import ImageLoader
from tests.unit.images.input.loading import load_images

ANY_SIZE = RequestRules(granularity_px=1)

Write = Callable[..., bytes]
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def colours(pixels: Any) -> list[tuple[int, ...]]:
    """The colour of the middle of each image of [N, H, W, 3]."""
    return [tuple(image[image.shape[0] // 2, image.shape[1] // 2].tolist()) for image in pixels]


LOW_LIMITS = RequestRules(limits=RequestLimits(max_side_px=64, max_area_px=64 * 32), granularity_px=8)


@pytest.mark.parametrize(
    ("original", "resized"),
    [
        ((40, 24), (40, 24)),
        ((41, 30), (40, 24)),  # down to the granularity
        ((128, 64), (64, 32)),  # within the longest side
        ((64, 64), (40, 40)),  # within the area: 45 x 45 rounded down
        ((5, 5), (8, 8)),
        ((3000, 3), (64, 8)),
    ],
)
def test_size_auto_is_that_of_the_first_image(
    loader: ImageLoader, encoded: Write, original: tuple[int, int], resized: tuple[int, int]
) -> None:
    others = [Image.new("RGB", size, GREEN) for size in ((100, 20), (8, 8))]
    images = [Image.new("RGB", original, RED), *others]
    loaded = load_images(
        loader, [encoded(image) for image in images], encoded(Image.new("L", original)), None, LOW_LIMITS
    )
    assert loaded.pixels.shape == (3, resized[1], resized[0], 3)
    assert loaded.mask is not None
    assert loaded.mask.shape == (1, resized[1], resized[0])
    assert colours(loaded.pixels) == [RED, GREEN, GREEN]


def stripes(width: int, height: int) -> Image.Image:
    """Red, green and blue, from left to right."""
    image = Image.new("RGB", (width, height), GREEN)
    image.paste(RED, (0, 0, width // 3, height))
    image.paste(BLUE, (width - width // 3, 0, width, height))
    return image


def test_proportions_are_kept_and_the_middle_too(loader: ImageLoader, encoded: Write) -> None:
    """Of three stripes beside each other the middle one fills a square; the mask is cut in the same way."""
    mask = Image.new("L", (96, 32), 0)
    mask.paste(255, (32, 0, 64, 32))
    images = [encoded(stripes(96, 32)), encoded(stripes(48, 16)), encoded(stripes(32, 96))]
    loaded = load_images(loader, images, encoded(mask), (16, 16), ANY_SIZE)
    for pixels in loaded.pixels[:2]:
        assert np.all(pixels[:, 3:-3] == GREEN)  # at the edges the filter mixes some of the neighbours in
        assert pixels[:, :, 1].min() > 127
    assert np.all(loaded.pixels[2, :, 0] == RED)
    assert np.all(loaded.pixels[2, :, 15] == BLUE)
    assert loaded.mask is not None
    assert np.all(loaded.mask == 255)


def test_the_mask_stays_on_its_part_of_the_image(loader: ImageLoader, encoded: Write) -> None:
    image = Image.new("RGB", (90, 60), (0, 0, 0))
    image.paste((255, 255, 255), (40, 20, 70, 50))
    loaded = load_images(loader, [encoded(image)], encoded(image.convert("L")), (32, 64), ANY_SIZE)
    assert loaded.mask is not None
    bright = loaded.pixels[0, :, :, 0] > 127
    assert (bright != (loaded.mask[0] > 127)).mean() < 0.02
    assert set(np.unique(loaded.mask)) == {0, 255}
