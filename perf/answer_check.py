"""Whether what a server under load answers is what was asked for; what is wrong is told in few kinds, to be counted."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from perf.image_check import MAX_LEVELS
from perf.wanted import Wanted

WRONG_COUNT = "wrong number of images"
WRONG_SEED = "wrong seed"
NO_IMAGE = "not a PNG file"
WRONG_SIZE = "wrong size"
ONE_COLOUR = "one colour all over"
OTHER_IMAGE = "another image than the first time"


class WrongAnswer(Exception):
    """An answer that is not what was asked for.

    Attributes:
        kind: one of a few texts.
        details: this time's, which differ from answer to answer.
    """

    def __init__(self, kind: str, details: object = "") -> None:
        super().__init__(kind, details)
        self.kind = kind
        self.details = str(details)


class AnswerCheck:
    """Compares each image with the first one that was drawn for the same request, whoever asked for it."""

    def __init__(self) -> None:
        self._first: dict[Wanted, npt.NDArray[np.int16]] = {}

    def check(self, wanted: Wanted, images: Sequence[bytes], seeds: Sequence[int]) -> None:
        """Raise WrongAnswer unless `images`, files drawn with `seeds`, are what was wanted."""
        if len(images) != wanted.n:
            raise WrongAnswer(WRONG_COUNT, f"{len(images)} instead of {wanted.n}")
        if tuple(seeds) != wanted.seeds:
            raise WrongAnswer(WRONG_SEED, f"{list(seeds)} instead of {list(wanted.seeds)}")
        for image, alone in zip(images, wanted.each(), strict=True):
            pixels = _pixels(image)
            height, width, _ = pixels.shape
            if (width, height) != wanted.size:
                raise WrongAnswer(WRONG_SIZE, f"{width}x{height} instead of {'{}x{}'.format(*wanted.size)}")
            if (pixels == pixels[0, 0]).all():
                raise WrongAnswer(ONE_COLOUR, pixels[0, 0].tolist())
            levels = int(np.abs(pixels - self._first.setdefault(alone, pixels)).max())
            if levels > MAX_LEVELS:
                raise WrongAnswer(OTHER_IMAGE, f"by {levels} levels: {alone}")


def _pixels(image: bytes) -> npt.NDArray[Any]:
    """[height, width, 3]"""
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(image), formats=["PNG"]) as opened:
            warnings.simplefilter("error")
            return np.asarray(opened.convert("RGB")).astype(np.int16)
    except Exception as error:  # Pillow raises all kinds of them at damaged files
        raise WrongAnswer(NO_IMAGE, error) from error
