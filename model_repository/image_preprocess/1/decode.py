"""Bytes of a PNG, JPEG or WebP file to pixels, for files that may have been made to do harm.

The size in the header is checked before a decoder allocates or reads pixels. Of an animation the first frame counts.
Pictures are turned as their EXIF orientation says, so that width and height are those a viewer shows.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, WebPImagePlugin

from colour import split_alpha, to_rgb
from loading_settings import LoadingSettings
from refusal import Refused
from signature import other_format, supported_format

_LOGGER = logging.getLogger(__name__)

# Registered once here: Pillow would do it on first use, which threads could race for.
Image.preinit()
assert WebPImagePlugin.SUPPORTED

# Pillow's own limit only warns at first and is global. `_check_size` is stricter, and runs before pixels are read.
Image.MAX_IMAGE_PIXELS = None

_ORIENTATION = 0x0112  # EXIF 2.32, tag Orientation
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(data: bytes, settings: LoadingSettings) -> npt.NDArray[np.uint8]:
    """The picture in `data` as read-only uint8 sRGB [H, W, 3], transparent parts over white.

    Raises:
        Refused: the format is not accepted, the picture too large, or the file damaged.
    """
    with _opened(data, settings) as image:
        return np.asarray(_upright(to_rgb(image), image))


def decode_mask(data: bytes, settings: LoadingSettings) -> npt.NDArray[np.uint8]:
    """The mask in `data` as uint8 [H, W], 255 = repaint, 0 = keep.

    Where the file has any transparency, the transparent parts are repainted (255 - alpha), as in OpenAI's images
    API; otherwise the white parts are (luminance).

    Raises:
        Refused: the format is not accepted, the mask too large, or the file damaged.
    """
    with _opened(data, settings) as image:
        colours, alpha = split_alpha(image)
        if alpha is not None and alpha.getextrema() != (255, 255):
            return np.array(_upright(ImageChops.invert(alpha), image))
        return np.array(_upright(colours.convert("L"), image))


@contextmanager
def _opened(data: bytes, settings: LoadingSettings) -> Iterator[Image.Image]:
    """The checked, fully read image in `data`; whatever fails on it inside the block refuses it."""
    accepted = ", ".join(settings.formats)
    found = supported_format(data)
    if found not in settings.formats:
        name = found or other_format(data)
        is_in = f"is in the {name} format" if name else "is not an image in a known format"
        raise Refused(f"{is_in}; accepted formats are {accepted}")
    try:
        if found == "WEBP":
            _check_size(_webp_size(data), settings)  # Pillow's decoder allocates the canvas on opening
        if found == "PNG":
            with Image.open(io.BytesIO(data), formats=[found]) as unread:
                unread.verify()  # checksums of all chunks: reading pixels skips those, and the end of the file
        with Image.open(io.BytesIO(data), formats=[found]) as image:
            _check_size(image.size, settings)
            image.load()
            yield image
    except (Refused, MemoryError):
        raise
    except Exception as error:  # decoders raise nearly anything on hostile bytes, with texts that are not for clients
        _LOGGER.info("%s of %d bytes refused: %s: %s", found, len(data), type(error).__name__, error)
        raise Refused(f"is a damaged or incomplete {found} file") from None


def _check_size(size: tuple[int, int], settings: LoadingSettings) -> None:
    width, height = size
    side, pixels = settings.max_image_side_px, settings.max_image_pixels
    if max(size) > side or width * height > pixels:
        raise Refused(f"has {width}x{height} pixels; a side is at most {side} and width x height at most {pixels}")


def _webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) in the first chunk of a WebP file, (0, 0) when there is none (RFC 9649)."""
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return 0, 0


def _upright(pixels: Image.Image, source: Image.Image) -> Image.Image:
    """`pixels` turned as the EXIF data of `source` says; unturned when those are missing or broken."""
    try:
        orientation = source.getexif().get(_ORIENTATION)
    except Exception as error:  # the parser raises nearly anything on broken data, and a picture without is usable
        _LOGGER.info("EXIF data ignored: %s: %s", type(error).__name__, error)
        return pixels
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return pixels if method is None else pixels.transpose(method)
