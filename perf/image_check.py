"""Whether each answer is the right one: its seed, its size, and the same image from every engine."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from imagegen_client import GenerateResult
from perf.traces import Planned

MAX_LEVELS = 2
"""Most by which a colour value may differ between engines: batches of other sizes round differently."""


class ImageCheck:
    """Compares each image with the first one that was drawn for the same request.

    Args:
        side_px: width and height of every image.
    """

    def __init__(self, side_px: int) -> None:
        self._size = (side_px, side_px)
        self._first: dict[Planned, npt.NDArray[np.int16]] = {}

    def fault(self, planned: Planned, result: GenerateResult) -> str:
        """What is wrong with an answer; empty when nothing is."""
        if result.seeds != (planned.seed,):
            return f"seeds {result.seeds}, asked for {planned.seed}"
        if len(result.images) != 1:
            return f"{len(result.images)} images, asked for 1"
        with Image.open(io.BytesIO(result.images[0])) as opened:
            if opened.size != self._size:
                return f"size {opened.size}, asked for {self._size}"
            pixels = np.asarray(opened.convert("RGB")).astype(np.int16)
        levels = int(np.abs(pixels - self._first.setdefault(planned, pixels)).max())
        return f"differs by {levels} levels from another engine's image" if levels > MAX_LEVELS else ""
