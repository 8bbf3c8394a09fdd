"""Edges of an image as OpenCV's Canny finds them, and how well the edges of one image lie on those of another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

LOW, HIGH = 100, 200
"""What users of control models with edges have: cv2.Canny(image, 100, 200)."""
_SLOPE = 0.4142135623730951  # of 22.5 degrees: nearer to an axis than that, a pixel is compared along it


def canny(image: NDArray[np.uint8], low: int = LOW, high: int = HIGH) -> NDArray[np.bool_]:
    """Where `image` has edges, a pixel wide: `cv2.Canny(image, low, high)` without OpenCV.

    Args:
        image: uint8 [height, width, 3]. A pixel counts by the channel that changes most.
        low: gradient (of Sobel, in L1) from which a pixel goes on with an edge.
        high: gradient from which it begins one.

    Returns:
        bool [height, width].
    """
    kernel = np.outer((1, 2, 1), (-1, 0, 1))[..., None]  # ndimage.sobel would smooth over the channels too
    whole = image.astype(np.int32)
    across, down = (ndimage.correlate(whole, each, mode="nearest") for each in (kernel, kernel.transpose(1, 0, 2)))
    channel = (np.abs(across) + np.abs(down)).argmax(2)[..., None]
    across, down = (np.take_along_axis(part, channel, 2)[..., 0] for part in (across, down))
    strength = np.abs(across) + np.abs(down)
    around = np.pad(strength, 1)
    rows, columns = strength.shape

    def beside(dy: int, dx: int) -> NDArray[np.int32]:
        return around[1 + dy : 1 + dy + rows, 1 + dx : 1 + dx + columns]

    level = np.abs(down) < _SLOPE * np.abs(across)
    steep = np.abs(across) < _SLOPE * np.abs(down)
    falling = (across < 0) != (down < 0)
    peak = np.where(
        level,
        (strength > beside(0, -1)) & (strength >= beside(0, 1)),
        np.where(
            steep,
            (strength > beside(-1, 0)) & (strength >= beside(1, 0)),
            np.where(
                falling,
                (strength > beside(-1, 1)) & (strength > beside(1, -1)),
                (strength > beside(-1, -1)) & (strength > beside(1, 1)),
            ),
        ),
    )
    labels, count = ndimage.label(peak & (strength > low), np.ones((3, 3)))
    begun = np.zeros(count + 1, np.bool_)
    begun[labels[peak & (strength > high)]] = True
    begun[0] = False
    found: NDArray[np.bool_] = begun[labels]
    return found


def as_image(edges: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """White lines on black, as control models take them: uint8 [height, width, 3]."""
    return np.repeat(edges[..., None], 3, axis=2).astype(np.uint8) * np.uint8(255)


def overlap(found: NDArray[np.bool_], given: NDArray[np.bool_], tolerance_px: float = 2.0) -> float:
    """How well edges agree, 0..1: the harmonic mean of the share of `found` that lies within `tolerance_px` of `given`,
    and of the share of `given` that has some of `found` as near. 1 where both have none.
    """
    if not (found.any() and given.any()):
        return float(found.any() == given.any())
    hits = (
        (ndimage.distance_transform_edt(~there)[here] <= tolerance_px).mean()
        for here, there in ((found, given), (given, found))
    )
    precision, recall = hits
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0
