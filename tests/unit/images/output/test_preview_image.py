"""Previews become small images of the image's proportions, in the format that was asked for."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from imagegen.api.events import Preview, Progress
from imagegen.api.request import OutputChoice
from imagegen.images.output.preview_image import preview_image


def preview(size: tuple[int, int]) -> Preview:
    """The left half is red, the right half blue."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4, 0] = pixels[:, 4:, 2] = 255
    return Preview(Progress(1, 2), 0, 0, size, pixels)


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize(
    ("size", "shown"),
    [((1024, 512), (256, 128)), ((64, 128), (64, 128)), ((256, 256), (256, 256)), ((2048, 8), (256, 1))],
)
def test_the_image_fits_into_256_pixels(output_format: str, size: tuple[int, int], shown: tuple[int, int]) -> None:
    with Image.open(io.BytesIO(preview_image(preview(size), OutputChoice(output_format)))) as image:
        assert (image.format, image.size) == (output_format.upper(), shown)
        left, right = (np.asarray(image.convert("RGB"))[0, x].astype(int) for x in (0, -1))
    assert left[0] > 200 > 50 > left[2]
    assert right[2] > 200 > 50 > right[0]


@pytest.mark.parametrize(("response_format", "is_text"), [("bytes", False), ("b64_json", True), ("url", True)])
def test_it_is_base64_unless_bytes_are_wanted(response_format: str, is_text: bool) -> None:
    data = preview_image(preview((64, 64)), OutputChoice(response_format=response_format))
    assert (base64.b64decode(data) if is_text else data).startswith(b"\x89PNG")
