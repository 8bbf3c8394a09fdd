"""Bytes of a PNG, JPEG or WebP file to pixels, for files that may have been made to do harm.

The size in the header is checked before a decoder allocates or reads pixels. Metadata that are broken or too large
never cost an image; pixels that are broken or missing do. Of an animation the first frame counts, and what it leaves
out is white. Images are turned as their EXIF orientation says, so that width and height are those a viewer shows.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, WebPImagePlugin

from imagegen.images.input.colour import on_canvas, scale_transparency, split_alpha, to_rgb
from imagegen.images.input.errors import ImageError, TooLarge, UnsupportedFormat
from imagegen.images.input.jpeg_end import check_pixels, looks_cut, with_end
from imagegen.images.input.jpeg_scans import check_scans
from imagegen.images.input.jpeg_segments import split_jpeg
from imagegen.images.input.parts import ImageParts
from imagegen.images.input.png_chunks import bit_depth, png_size, split_png
from imagegen.images.input.png_rows import has_all_rows
from imagegen.images.input.resize import cover, draft_size
from imagegen.images.input.settings import InputSettings
from imagegen.images.input.sniff import other_format, supported_format
from imagegen.images.input.webp_chunks import split_webp, webp_size

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


_TURNED = {5, 6, 7, 8}  # of these, the width is stored as the height


@dataclass(frozen=True)
class Header:
    """What the header of an image file says.

    Attributes:
        format: PNG, JPEG or WEBP.
        size: (width, height) in pixels, as a viewer shows it.
        frames: 1, or more of an animation.
    """

    format: str
    size: tuple[int, int]
    frames: int


def read_header(data: bytes, settings: InputSettings) -> Header:
    """Read the header of an image file without decoding its pixels.

    Raises:
        ImageError: the format is not accepted, the image too large, or the file damaged.
    """
    with _opened(data, settings) as (image, parts):
        width, height = parts.canvas or image.size
        size = (height, width) if _orientation(image) in _TURNED else (width, height)
        return Header(_format(data, settings), size, parts.frames)


def has_transparency(data: bytes, settings: InputSettings) -> bool:
    """Whether any pixel of an image file is not opaque; quick where the format of its pixels rules that out.

    Raises:
        ImageError: the format is not accepted, the image too large, or the file damaged.
    """
    with _opened(data, settings) as (image, parts):
        if not image.has_transparency_data and parts.canvas in (None, image.size):
            return False
    with _loaded(data, settings, None) as image:
        alpha = split_alpha(image)[1]
        return alpha is not None and alpha.getextrema() != (255, 255)


def decode_image(data: bytes, settings: InputSettings, size: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
    """The image in `data` as read-only uint8 sRGB [H, W, 3], transparent parts over white.

    Args:
        data: the file.
        settings: limits.
        size: (width, height) that the image is to cover, see `resize.cover`; None for its own.

    Raises:
        ImageError: the format is not accepted, the image too large, or the file damaged.
    """
    with _loaded(data, settings, size) as image:
        rgb = _upright(to_rgb(image), image)
        return np.asarray(cover(rgb, size or rgb.size, Image.Resampling.LANCZOS))


def decode_mask(data: bytes, settings: InputSettings, size: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
    """The mask in `data` as uint8 [H, W], 255 = repaint, 0 = keep.

    Where the file has any transparency, the transparent parts are repainted (255 - alpha), as in OpenAI's images
    API; otherwise the white parts are (luminance).

    Args:
        data: the file.
        settings: limits.
        size: (width, height) that the mask is to cover, by the same geometry as an image; None for its own.

    Raises:
        ImageError: the format is not accepted, the mask too large, or the file damaged.
    """
    with _loaded(data, settings, None) as image:
        colours, alpha = split_alpha(image)
        if alpha is not None and alpha.getextrema() != (255, 255):
            mask = _upright(ImageChops.invert(alpha), image)
        else:
            mask = _upright(colours.convert("L"), image)
        return np.array(cover(mask, size or mask.size, Image.Resampling.NEAREST))


@contextmanager
def _loaded(data: bytes, settings: InputSettings, size: tuple[int, int] | None) -> Iterator[Image.Image]:
    """The checked, fully read image in `data`; a JPEG far larger than `size` is read at a half, quarter or eighth."""
    with _opened(data, settings) as (image, parts):
        if size is not None:
            image.draft(None, draft_size(image.size, size[::-1] if _orientation(image) in _TURNED else size))
        image.load()
        if image.format == "PNG":
            _check_rows(parts.file, image)
            scale_transparency(image, bit_depth(parts.file))
        elif image.format == "JPEG" and (not parts.had_end or looks_cut(image)):
            check_pixels(parts.file, had_end=parts.had_end)
        if parts.canvas is None or parts.canvas == image.size:
            yield image
        else:
            yield on_canvas(image, parts.canvas, parts.offset)


def _check_rows(data: bytes, image: Image.Image) -> None:
    """Raise ValueError when `image`, a PNG just loaded, lacks rows; cheap unless its last row is black or clear."""
    width, height = image.size
    # Without interlacing rows come from the top: a last row with anything in it means that all were there.
    if not image.info.get("interlace") and np.asarray(image.crop((0, height - 1, width, height))).any():
        return
    if not has_all_rows(data):
        raise ValueError("too few rows of pixels")


@contextmanager
def _opened(data: bytes, settings: InputSettings) -> Iterator[tuple[Image.Image, ImageParts]]:
    """The checked image in `data`, its pixels unread; whatever fails on it inside the block refuses it."""
    found = _format(data, settings)
    try:
        parts = _parts(data, found, settings)
        with Image.open(io.BytesIO(parts.file), formats=[found]) as image:
            _check_size(image.size, settings)
            known = {"exif": parts.exif, "icc_profile": parts.icc_profile, "xmp": parts.xmp}
            image.info.update({name: value for name, value in known.items() if value is not None})
            yield image, parts
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # decoders raise nearly anything on hostile bytes, with texts that are not for clients
        _LOGGER.info("%s of %d bytes refused: %s: %s", found, len(data), type(error).__name__, error)
        raise ImageError(f"is a damaged or incomplete {found} file") from None


def _parts(data: bytes, found: str, settings: InputSettings) -> ImageParts:
    """What Pillow is to see of `data`, and what not."""
    if found == "WEBP":
        _check_size(webp_size(data), settings)  # Pillow's decoder allocates the canvas on opening
        return split_webp(data)
    if found == "PNG":
        _check_size(png_size(data), settings)
        return split_png(data)
    check_scans(data)
    parts = split_jpeg(data)
    file, had_end = with_end(parts.file)
    return replace(parts, file=file, had_end=had_end)


def _format(data: bytes, settings: InputSettings) -> str:
    """The format of `data`, which is one of those accepted."""
    if not data:
        raise ImageError("is empty")
    accepted = ", ".join(settings.formats)
    found = supported_format(data)
    if found is not None and found in settings.formats:
        return found
    if name := found or other_format(data):
        raise UnsupportedFormat(f"is in the {name} format; accepted formats are {accepted}")
    raise ImageError(f"is not an image in a known format; accepted formats are {accepted}")


def _check_size(size: tuple[int, int], settings: InputSettings) -> None:
    width, height = size
    side, pixels = settings.max_image_side_px, settings.max_image_pixels
    if max(size) > side or width * height > pixels:
        raise TooLarge(f"has {width}x{height} pixels; a side is at most {side} and width x height at most {pixels}")


def _upright(pixels: Image.Image, source: Image.Image) -> Image.Image:
    """`pixels` turned as the EXIF data of `source` says."""
    method = _UPRIGHT.get(_orientation(source))
    return pixels if method is None else pixels.transpose(method)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation 1..8 of `image`; 1, upright, when its EXIF data are missing or broken."""
    try:
        # The method of the base class: that of PNG files decodes all pixels, in search of EXIF data behind them.
        orientation = Image.Image.getexif(image).get(_ORIENTATION)
    except Exception as error:  # the parser raises nearly anything on broken data, and an image without is usable
        _LOGGER.info("EXIF data ignored: %s: %s", type(error).__name__, error)
        return 1
    return orientation if isinstance(orientation, int) else 1
