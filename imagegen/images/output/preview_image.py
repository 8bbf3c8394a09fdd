"""Encodes the few pixels of a preview as a small image."""

from __future__ import annotations

import io

import pybase64
from PIL import Image

from imagegen.api.events import Preview
from imagegen.api.request import OutputChoice

_LONGEST_SIDE_PX = 256
_OPTIONS = {"png": {"compress_level": 1}, "jpeg": {"quality": 80}, "webp": {"quality": 80, "method": 0}}


def preview_image(preview: Preview, choice: OutputChoice) -> bytes:
    """Encode a preview.

    Args:
        preview: its pixels, and the size of the image that it is a preview of.
        choice: how the client wants images; previews are never stored, so base64 stands in for an address.

    Returns:
        A file in the output format, of the image's proportions and at most 256 pixels on a side; as base64 unless
        the client wants bytes.
    """
    scale = min(1.0, _LONGEST_SIDE_PX / max(preview.size))
    width, height = (max(1, round(side * scale)) for side in preview.size)
    image = Image.fromarray(preview.pixels).resize((width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, choice.output_format.upper(), **_OPTIONS[choice.output_format])
    data = buffer.getvalue()
    return data if choice.response_format == "bytes" else pybase64.b64encode(data)
