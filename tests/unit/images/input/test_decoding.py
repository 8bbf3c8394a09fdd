"""Files are decoded to the size that their field needs, and what is wrong with them is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from imagegen.api.limits import Conditions, RequestLimits, RequestRules
from imagegen.images.input.decoding import Decoded, Decoders
from imagegen.images.input.errors import ImageError
from imagegen.images.input.settings import InputSettings
from imagegen.images.input.source import Encoded

Write = Callable[..., bytes]
RULES = RequestRules(
    limits=RequestLimits(max_side_px=64), granularity_px=8, model="toy", conditions=Conditions(least_reference_px=16)
)


@pytest.fixture
def seconds() -> list[float]:
    """What each decoded file took."""
    return []


@pytest.fixture
def decoders(seconds: list[float]) -> Iterator[Decoders]:
    decoders = Decoders(InputSettings(), seconds.append)
    yield decoders
    decoders.close()


def decoded(decoders: Decoders, field: str, data: bytes, rules: RequestRules = RULES) -> Decoded:
    return decoders.start(field, Encoded(data, "file"), (32, 24), rules).result()


@pytest.mark.parametrize(
    ("field", "original", "shape"),
    [
        ("image[0]", (50, 50), (24, 32, 3)),
        ("mask", (50, 50), (24, 32)),
        ("control_image[1]", (500, 20), (24, 32, 3)),
        ("reference_image[0]", (50, 17), (17, 50, 3)),  # as it is
        ("reference_image[0]", (128, 64), (32, 64, 3)),  # down to the limits
        ("reference_image[0]", (16, 16), (16, 16, 3)),
    ],
)
def test_each_field_has_its_size(
    decoders: Decoders,
    seconds: list[float],
    encoded: Write,
    field: str,
    original: tuple[int, int],
    shape: tuple[int, ...],
) -> None:
    assert decoded(decoders, field, encoded(Image.new("RGB", original))).pixels.shape == shape
    assert len(seconds) == 1


def test_a_reference_is_scaled_and_never_cropped(decoders: Decoders, encoded: Write) -> None:
    image = Image.new("RGB", (256, 128), "red")
    image.paste("blue", (128, 0, 256, 128))
    pixels = decoded(decoders, "reference_image[0]", encoded(image)).pixels
    assert pixels[:, 0].tolist() == [[255, 0, 0]] * 32
    assert pixels[:, -1].tolist() == [[0, 0, 255]] * 32


@pytest.mark.parametrize(
    ("size", "says"),
    [
        ((40, 15), "has 40x15 pixels; each side is 16 or more for the model toy"),
        ((256, 32), "has 256x32 pixels, within the limits 64x8; each side is 16 or more for the model toy"),
    ],
)
def test_a_reference_below_the_least_side_is_refused_by_what_would_be_used(
    decoders: Decoders, encoded: Write, size: tuple[int, int], says: str
) -> None:
    data = encoded(Image.new("RGB", size))
    with pytest.raises(ImageError, match=f"^invalid_image: {says}$"):
        decoded(decoders, "reference_image[0]", data)
    assert decoded(decoders, "image[0]", data).pixels.shape == (24, 32, 3)
    nobody_has_said = RequestRules(limits=RULES.limits)
    assert decoded(decoders, "reference_image[0]", data, nobody_has_said).pixels.size > 0


@pytest.mark.parametrize("field", ["reference_image[0]", "control_image[0]"])
@pytest.mark.parametrize("mode", ["CMYK", "RGBA", "LA", "I;16", "1", "P"])
def test_references_and_controls_are_read_as_images_are(
    decoders: Decoders, encoded: Write, field: str, mode: str
) -> None:
    image = Image.new("RGBA", (32, 24), (200, 10, 30, 128))
    if mode == "I;16":
        image = Image.fromarray(np.full((24, 32), 40_000, np.uint16))
    elif mode != "RGBA":
        image = image.convert("RGB").convert(mode) if mode in ("CMYK", "P") else image.convert(mode)
    data = encoded(image, "JPEG" if mode == "CMYK" else "PNG")
    assert np.array_equal(decoded(decoders, field, data).pixels, decoded(decoders, "image[0]", data).pixels)


def test_auto_size_is_within_the_limits_and_down_to_the_granularity(decoders: Decoders, encoded: Write) -> None:
    assert decoders.auto_size(Encoded(encoded(Image.new("L", (130, 61))), "file"), RULES) == (64, 24)
    with pytest.raises(ImageError):
        decoders.auto_size(Encoded(b"no image", "file"), RULES)


def test_whether_a_file_is_transparent(decoders: Decoders, encoded: Write) -> None:
    clear, opaque = (encoded(Image.new("RGBA", (8, 8), (0, 0, 0, alpha))) for alpha in (0, 255))
    assert decoders.is_transparent(Encoded(clear, "file"))
    assert not decoders.is_transparent(Encoded(opaque, "file"))
