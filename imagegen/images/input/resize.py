"""Scales images to the size that the model generates at, with their proportions kept."""

from __future__ import annotations

import math

from PIL import Image

_DRAFT_MARGIN = 1.5  # a draft stays this much larger than needed, so that the last step down is a good filter's


def cover(image: Image.Image, size: tuple[int, int], resampling: Image.Resampling) -> Image.Image:
    """`image` scaled until it just covers `size`; what sticks out is cut off, as much on either side.

    Args:
        image: mode L or RGB.
        size: (width, height) in pixels.
        resampling: how to scale.
    """
    if image.size == size:
        return image
    width, height = image.size
    box_width = min(width, height * size[0] / size[1])
    box_height = min(height, width * size[1] / size[0])
    left, top = (width - box_width) / 2, (height - box_height) / 2
    box = left, top, min(width, left + box_width), min(height, top + box_height)  # a sum may be rounded up
    return image.resize(size, resampling, box=box)


def draft_size(original: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """The (width, height) below which a quick, coarse reduction of `original` must not go to cover `size` well."""
    scale = max(size[0] / original[0], size[1] / original[1]) * _DRAFT_MARGIN
    return math.ceil(original[0] * scale), math.ceil(original[1] * scale)
