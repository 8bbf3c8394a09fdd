"""Frames to PNG, JPEG or WebP bytes, with Pillow."""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

_JPEG_QUALITY = 90
_WEBP_QUALITY = 80


def encode(frame: npt.NDArray[np.uint8], output_format: str, output_compression: int | None) -> bytes:
    """Encode one frame.

    Args:
        frame: uint8 [H, W, 3].
        output_format: png, jpeg or webp.
        output_compression: 0..100 or None. PNG: zlib level round(c/100·9), pixels are the same at every level;
            None is level 1 with run-length matching, the fastest that is still small. JPEG and WebP: quality,
            90 and 80 when None; 100 is lossless for WebP.
    """
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, output_format.upper(), **_options(output_format, output_compression))
    return buffer.getvalue()


def _options(output_format: str, compression: int | None) -> dict[str, Any]:
    if output_format == "png":
        if compression is None:
            return {"compress_level": 1, "compress_type": zlib.Z_RLE}
        return {"compress_level": round(compression / 100 * 9)}
    if output_format == "jpeg":
        return {"quality": _JPEG_QUALITY if compression is None else compression}
    lossless = compression == 100
    return {"quality": _WEBP_QUALITY if compression is None else compression, "method": 0, "lossless": lossless}
