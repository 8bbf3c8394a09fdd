"""Control images: the edges of random scenes, as the bundled checkpoint's control network learned to follow them."""

from __future__ import annotations

import io
from random import Random

from PIL import Image

from checkpoint.edges import as_image, canny
from checkpoint.scattered import scattered


def edges_png(seed: int, side_px: int) -> bytes:
    """The edges of the scene of a seed, white on black, as a PNG file of `side_px` by `side_px` pixels."""
    scene = scattered(side_px, Random(seed))
    file = io.BytesIO()
    Image.fromarray(as_image(canny(scene.image))).save(file, "PNG")
    return file.getvalue()
