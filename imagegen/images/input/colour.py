"""Any colour mode of a PNG, JPEG or WebP to plain sRGB and alpha."""

from __future__ import annotations

import io
import logging

import numpy as np
from PIL import Image, ImageCms

_LOGGER = logging.getLogger(__name__)


def to_rgb(image: Image.Image) -> Image.Image:
    """An RGB image in sRGB, transparent parts over white.

    An embedded ICC profile that fits the image is applied; a broken one is ignored, as browsers do.
    """
    colours, alpha = split_alpha(image)
    rgb = _to_srgb(colours, image.info.get("icc_profile"))
    if alpha is None:
        return rgb
    return Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)


def split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The colours in mode L, RGB or CMYK, and the alpha in mode L (255 = opaque), None when all is opaque.

    16-bit samples keep their upper 8 bits, which is also what Pillow does where it reads 16-bit colour.
    """
    if image.mode.startswith("I"):  # 16-bit grey
        samples = np.asarray(image)
        clear = image.info.get("transparency")
        alpha = None if clear is None else Image.fromarray(np.where(samples == clear, 0, 255).astype(np.uint8))
        return Image.fromarray((samples >> 8).astype(np.uint8)), alpha
    is_grey = image.mode in ("1", "L", "LA")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return (rgba.getchannel("R") if is_grey else rgba.convert("RGB")), rgba.getchannel("A")
    if image.mode in ("L", "RGB", "CMYK"):
        return image, None
    return image.convert("L" if is_grey else "RGB"), None


def on_canvas(image: Image.Image, canvas: tuple[int, int], offset: tuple[int, int]) -> Image.Image:
    """`image` at its place on a canvas that is white and transparent elsewhere, with what was known of the image.

    Args:
        image: of any mode that `split_alpha` takes, but CMYK.
        canvas: (width, height) in pixels.
        offset: (x, y) in pixels of the upper left corner of `image`.
    """
    colours, alpha = split_alpha(image)
    frame = colours.copy()
    frame.putalpha(255 if alpha is None else alpha)  # now LA or RGBA
    placed = Image.new(frame.mode, canvas, (255,) * (len(frame.getbands()) - 1) + (0,))
    placed.paste(frame, offset)
    placed.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return placed


def scale_transparency(image: Image.Image, depth: int) -> None:
    """Bring the clear value or colour of a PNG with `depth` bits per sample to the 8 bits of its pixels.

    Pillow scales samples of 2, 4 and 16 bits, but not this one. Of 16-bit grey it keeps all bits, of 1 bit and of
    palettes what it says is right.
    """
    clear = image.info.get("transparency")
    if image.mode == "L" and clear is not None:
        image.info["transparency"] = _eight_bits(clear, depth)
    elif image.mode == "RGB" and clear is not None:
        image.info["transparency"] = tuple(_eight_bits(value, depth) for value in clear)


def _eight_bits(sample: int, depth: int) -> int:
    sample &= 2**depth - 1  # the others are to be 0, and count for nothing
    return sample >> 8 if depth == 16 else sample * 255 // (2**depth - 1)


def _to_srgb(colours: Image.Image, profile: bytes | None) -> Image.Image:
    if profile:
        try:
            converted = ImageCms.profileToProfile(
                colours, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
            _LOGGER.info("embedded colour profile ignored: %s", error)
        else:
            if converted is not None:
                return converted
    return colours if colours.mode == "RGB" else colours.convert("RGB")
