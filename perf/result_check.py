"""Whether a response is what was asked for; what is wrong is named by one of few kinds, to be counted."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from perf.workload import Request

MAX_LEVELS = 2
"""Most by which a colour value may differ between images of one request: batches of other sizes round differently."""

WRONG_COUNT = "wrong number of images"
WRONG_SEED = "wrong seed"
NO_IMAGE = "not a PNG file"
WRONG_SIZE = "wrong size"
ONE_COLOUR = "one colour all over"
OTHER_IMAGE = "another image than the first time"


class WrongResult(Exception):
    """A response that is not what was asked for.

    Attributes:
        kind: one of a few texts.
        details: this time's, which differ from response to response.
    """

    def __init__(self, kind: str, details: object = "") -> None:
        super().__init__(kind, details)
        self.kind = kind
        self.details = str(details)


class ResultCheck:
    """Compares each image with the first one for the same request, whichever server and protocol that came by."""

    def __init__(self) -> None:
        self._first: dict[Request, npt.NDArray[np.int16]] = {}

    def check(self, request: Request, images: Sequence[bytes], seeds: Sequence[int]) -> None:
        """Raise WrongResult unless `images`, files generated with `seeds`, are what was asked for."""
        if len(images) != request.n:
            raise WrongResult(WRONG_COUNT, f"{len(images)} instead of {request.n}")
        if tuple(seeds) != request.seeds:
            raise WrongResult(WRONG_SEED, f"{list(seeds)} instead of {list(request.seeds)}")
        for image, alone in zip(images, request.each(), strict=True):
            pixels = _pixels(image)
            height, width, _ = pixels.shape
            if (width, height) != request.size:
                raise WrongResult(WRONG_SIZE, f"{width}x{height} instead of {'{}x{}'.format(*request.size)}")
            if (pixels == pixels[0, 0]).all():
                raise WrongResult(ONE_COLOUR, pixels[0, 0].tolist())
            levels = int(np.abs(pixels - self._first.setdefault(alone, pixels)).max())
            if levels > MAX_LEVELS:
                raise WrongResult(OTHER_IMAGE, f"by {levels} levels: {alone}")


def _pixels(image: bytes) -> npt.NDArray[Any]:
    """[height, width, 3]"""
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(image), formats=["PNG"]) as opened:
            warnings.simplefilter("error")
            return np.asarray(opened.convert("RGB")).astype(np.int16)
    except Exception as error:  # Pillow raises all kinds of them at damaged files
        raise WrongResult(NO_IMAGE, error) from error
