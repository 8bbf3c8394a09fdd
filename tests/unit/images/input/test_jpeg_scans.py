"""JPEG files that repeat a scan, so that few bytes take a decoder minutes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PIL import Image

from imagegen.images.input.decode import decode_image, decode_mask, read_header
from imagegen.images.input.errors import ImageError
from imagegen.images.input.jpeg_scans import MAX_SCANS, MAX_SEGMENTS
from imagegen.images.input.settings import InputSettings

SETTINGS = InputSettings()
Write = Callable[..., bytes]
END = b"\xff\xd9"


def with_repeated_scan(data: bytes, times: int) -> bytes:
    """`data`, a progressive JPEG, with its last scan `times` times more."""
    body = data.removesuffix(END)
    last = body[body.rindex(b"\xff\xda") :]
    return body + last * times + END


def progressive(encoded: Write) -> bytes:
    return encoded(Image.linear_gradient("L"), "JPEG", progressive=True)


@pytest.mark.parametrize("read", [read_header, decode_image, decode_mask])
def test_too_many_scans_are_refused(encoded: Write, read: Callable[..., object]) -> None:
    data = with_repeated_scan(progressive(encoded), MAX_SCANS)
    with pytest.raises(ImageError, match=r"^too_large: has more than 100 JPEG scans$"):
        read(data, SETTINGS)


def test_as_many_scans_as_allowed_are_read(encoded: Write) -> None:
    data = progressive(encoded)
    data = with_repeated_scan(data, MAX_SCANS - data.count(b"\xff\xda"))
    assert read_header(data, SETTINGS).size == (256, 256)


@pytest.mark.parametrize("hidden", [b"\xff\x05\x7f\xf0", b"\xff\xd0\xff\xff", b"\xff\xff\xff"])
def test_scans_cannot_be_hidden(encoded: Write, hidden: bytes) -> None:
    """Decoders skip what has no length, and what only looks like a segment."""
    body = progressive(encoded).removesuffix(END) + hidden
    with pytest.raises(ImageError, match=r"^too_large"):
        decode_image(with_repeated_scan(body, MAX_SCANS), SETTINGS)


def test_bytes_like_scans_around_the_image_do_not_count(encoded: Write) -> None:
    """Phones append films to images, and metadata hold anything."""
    data = progressive(encoded)
    comment = b"\xff\xda" * 1000
    segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    assert decode_image(data[:2] + segment + data[2:] + comment, SETTINGS).shape == (256, 256, 3)


@pytest.mark.parametrize("part", [b"\xff\xfe\0\2", b"\xff\xd0", b"\xff\xd9", b"\xff\xff", b"\xff\0"])
def test_countless_segments_are_refused(encoded: Write, part: bytes) -> None:
    """Also empty ones, and padding, which Pillow reads byte by byte."""
    data = progressive(encoded)
    with pytest.raises(ImageError, match=r"^too_large: has more than 10000 JPEG segments$"):
        read_header(data[:2] + part * (MAX_SEGMENTS + 1) + data[2:], SETTINGS)


def test_countless_segments_between_scans_are_refused(encoded: Write) -> None:
    data = progressive(encoded).removesuffix(END) + b"\xff\xfe\0\2" * (MAX_SEGMENTS + 1)
    with pytest.raises(ImageError, match=r"^too_large: has more than 10000 JPEG segments$"):
        read_header(with_repeated_scan(data, MAX_SCANS), SETTINGS)


def test_many_restarts_within_scans_are_read(encoded: Write) -> None:
    image = Image.effect_noise((1024, 1024), 50)
    data = encoded(image, "JPEG", restart_marker_blocks=1) + b"\xff\xda" * MAX_SCANS
    assert len([at for at in range(len(data) - 1) if data[at] == 0xFF and 0xD0 <= data[at + 1] <= 0xD7]) > MAX_SEGMENTS
    assert decode_image(data, SETTINGS).shape == (1024, 1024, 3)
