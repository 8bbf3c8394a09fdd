"""What an image file holds, taken apart: Pillow is shown the pixels alone, and never sees metadata it would stop at.

split_png, split_jpeg, split_webp ── ImageParts ── decode.py
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageParts:
    """The first image of a file, and what else there says how it is to be shown.

    Attributes:
        file: a file of the same format with the pixels of the first image, and nothing that they do not need.
        canvas: (width, height) in pixels where the image is a frame that may leave a part of it out; None where the
            image is all there is.
        offset: (x, y) in pixels of the frame's upper left corner on the canvas.
        frames: how many images there are.
        had_end: False when the end of the pixels is not marked, as their format demands, so that some may be missing.
        exif: EXIF data, as they came.
        icc_profile: colour profile, as it came.
        xmp: XMP data, which may name an orientation.
    """

    file: bytes
    canvas: tuple[int, int] | None = None
    offset: tuple[int, int] = (0, 0)
    frames: int = 1
    had_end: bool = True
    exif: bytes | None = None
    icc_profile: bytes | None = None
    xmp: bytes | None = None


def check_frame(size: tuple[int, int], offset: tuple[int, int], canvas: tuple[int, int]) -> None:
    """Check where a frame lies.

    Raises:
        ValueError: a part of it lies outside of the canvas.
    """
    if min(size) < 1 or any(at + side > most for at, side, most in zip(offset, size, canvas, strict=True)):
        raise ValueError(f"a frame of {size} at {offset} does not fit in {canvas}")
