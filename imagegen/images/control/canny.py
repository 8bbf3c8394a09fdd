"""Edges, as the ControlNets for them were trained with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imagegen.images.control.opencv import opencv

# Of the gradient, sum of both directions. A pixel above the second is an edge, and one above the first if it touches
# one. The defaults of github.com/lllyasviel/ControlNet (gradio_canny2image.py) and of diffusers' examples.
_LOW, _HIGH = 100, 200


def canny_edges(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """White edges, one pixel wide, on black.

    Args:
        pixels: uint8 RGB [H, W, 3]. Of the three colours the one with the steepest gradient counts.

    Returns:
        uint8 RGB [H, W, 3], each value 0 or 255.
    """
    edges: npt.NDArray[np.uint8] = opencv().Canny(pixels, _LOW, _HIGH)
    return np.repeat(edges[:, :, None], 3, axis=2)
