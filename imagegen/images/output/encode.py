"""Frames to PNG, JPEG or WebP bytes: Pillow, and for PNG the ISA-L writer where that is faster."""

from __future__ import annotations

import io
import zlib
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from imagegen.api.errors import InternalError
from imagegen.images.output.file_metadata import FileText

_JPEG_QUALITY = 90
_WEBP_QUALITY = 80
_ISAL_CHANNELS: dict[str, tuple[int, ...]] = {"auto": (3,), "pillow": (), "isal": (1, 3, 4)}
PNG_ENCODERS = tuple(_ISAL_CHANNELS)

ISAL_INSTALLED = find_spec("isal") is not None
if ISAL_INSTALLED:
    from imagegen.images.output.png_isal import write_png


def encode(
    frame: npt.NDArray[np.uint8],
    output_format: str,
    output_compression: int | None,
    png_encoder: str = "auto",
    text: FileText | None = None,
) -> bytes:
    """Encode one frame.

    Args:
        frame: uint8 [H, W, C]; C is 1 (grey), 3 (RGB) or 4 (RGBA, not multiplied by alpha).
        output_format: png, jpeg or webp. JPEG has no alpha: what is transparent is laid over white.
        output_compression: 0..100 or None. PNG: zlib level round(c/100·9), pixels are the same at every level;
            None is the fastest way that is still small. JPEG and WebP: quality, 90 and 80 when None; 100 is lossless
            for WebP.
        png_encoder: who writes a PNG without output_compression. auto: ISA-L for RGB where `isal` is installed, else
            Pillow; isal: ISA-L also for grey and RGBA; pillow: always Pillow.
        text: what to write about the image into the file; None for nothing.
    """
    isal = ISAL_INSTALLED and output_compression is None and frame.shape[2] in _ISAL_CHANNELS[png_encoder]
    if output_format == "png" and isal:
        return write_png(frame, text.png_chunks() if text else ())
    image = Image.fromarray(frame[:, :, 0] if frame.shape[2] == 1 else frame)
    if output_format == "jpeg" and image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    options = _options(output_format, output_compression)
    if text:
        options |= {"pnginfo": text.png_info()} if output_format == "png" else {"exif": text.exif()}
    buffer = io.BytesIO()
    image.save(buffer, output_format.upper(), **options)
    return buffer.getvalue()


def check_frames(frames: npt.NDArray[Any]) -> None:
    """Raise InternalError unless `frames` are uint8 [n, H, W, C], C one of 1, 3, 4, and hold at least one pixel."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] not in (1, 3, 4) or 0 in frames.shape:
        raise InternalError(
            f"frames: {frames.dtype} {list(frames.shape)}; uint8 [n, height, width, 1 | 3 | 4] without a 0 is needed"
        )


def _options(output_format: str, compression: int | None) -> dict[str, Any]:
    if output_format == "png":
        if compression is None:
            return {"compress_level": 1, "compress_type": zlib.Z_RLE}
        return {"compress_level": round(compression / 100 * 9)}
    if output_format == "jpeg":
        return {"quality": _JPEG_QUALITY if compression is None else compression}
    if compression == 100:
        # Here quality is effort: 100 takes ten times as long as 0 for half a percent. exact: the colours of pixels that
        # are transparent are kept too.
        return {"lossless": True, "quality": 0, "method": 0, "exact": True}
    return {"quality": _WEBP_QUALITY if compression is None else compression, "method": 0}
