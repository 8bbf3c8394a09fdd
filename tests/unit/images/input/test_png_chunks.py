"""PNG files that are valid chunk by chunk and yet lie, and the metadata that is read without decoding pixels."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from imagegen.images.input.decode import Header, decode_image, decode_mask, read_header
from imagegen.images.input.errors import ImageError
from imagegen.images.input.png_chunks import MAX_OTHER_CHUNKS, MAX_PIXEL_CHUNKS
from imagegen.images.input.settings import InputSettings
from tests.image_files import chunk, png_of

SETTINGS = InputSettings()
Write = Callable[..., bytes]


def test_a_first_frame_that_leaves_a_part_out_is_read_as_far_as_it_goes(encoded: Write) -> None:
    """The control chunk counts, also where there are more rows than it says."""
    frames = [Image.new("RGB", (8, 8), (index * 60, 0, 0)) for index in (1, 2)]
    data = encoded(frames[0], save_all=True, append_images=frames[1:])
    at = data.index(b"fcTL")
    control = data[at + 4 : at + 8] + struct.pack(">IIII", 8, 4, 0, 4) + data[at + 24 : at + 30]
    pixels = decode_image(data[: at - 4] + chunk(b"fcTL", control) + data[at + 34 :], SETTINGS)
    assert np.all(pixels[:4] == 255)
    assert np.all(pixels[4:] == (60, 0, 0))


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes().removeprefix(b"Exif\0\0")


@pytest.mark.parametrize("before", [b"", chunk(b"eXIf", exif(6))])
def test_the_header_is_read_without_the_pixels(before: bytes) -> None:
    size = (8, 4) if before else (4, 8)
    assert read_header(png_of((4, 8), b"garbage", before=before), SETTINGS) == Header("PNG", size, 1)


def test_pixels_are_decoded_once(encoded: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[object] = []
    load_prepare = PngImagePlugin.PngImageFile.load_prepare

    def counting(self: PngImagePlugin.PngImageFile) -> Any:
        prepared.append(self)
        return load_prepare(self)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load_prepare", counting)
    data = encoded(Image.new("RGB", (8, 8), "red"))
    read_header(data, SETTINGS)
    assert prepared == []
    decode_image(data, SETTINGS)
    assert len(prepared) == 1


def test_exif_behind_the_pixels_counts() -> None:
    data = png_of((4, 8), zlib.compress(bytes(8 * 5)))
    turned = data[:-12] + chunk(b"eXIf", exif(6)) + data[-12:]
    assert read_header(turned, SETTINGS).size == (8, 4)
    assert decode_image(turned, SETTINGS).shape == (4, 8, 3)
    assert decode_mask(turned, SETTINGS).shape == (4, 8)


def test_metadata_behind_the_pixels_cannot_turn_what_the_header_said() -> None:
    xmp = b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'
    data = png_of((4, 8), zlib.compress(bytes(8 * 5)))
    data = data[:-12] + chunk(b"iTXt", xmp) + data[-12:]
    assert read_header(data, SETTINGS).size == (4, 8)
    assert decode_image(data, SETTINGS).shape == (8, 4, 3)
    assert decode_mask(data, SETTINGS).shape == (8, 4)


@pytest.mark.parametrize(
    "profile",
    [
        pytest.param(b"\0" + zlib.compress(bytes(2 << 20)), id="too large for Pillow"),
        pytest.param(b"\1" + zlib.compress(b"profile"), id="unknown compression"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_a_profile_that_pillow_stops_at_is_ignored(profile: bytes) -> None:
    rows = zlib.compress(b"\0\x07")
    data = png_of((1, 1), rows, before=chunk(b"iCCP", b"name\0" + profile))
    assert decode_image(data, SETTINGS).tolist() == [[[7, 7, 7]]]
    assert read_header(data, SETTINGS).size == (1, 1)


def test_a_png_of_countless_chunks_is_refused_at_once() -> None:
    empty, rows = chunk(b"teSt"), zlib.compress(b"\0\x07")
    assert decode_image(png_of((1, 1), rows, before=empty * (MAX_OTHER_CHUNKS - 1)), SETTINGS).shape == (1, 1, 3)
    with pytest.raises(ImageError, match=r"^too_large: has more than 100000 PNG chunks besides"):
        read_header(png_of((1, 1), rows, before=empty * (MAX_OTHER_CHUNKS + 1)), SETTINGS)
    with pytest.raises(ImageError, match=r"^too_large: has its pixels in more than 100000 PNG chunks"):
        read_header(png_of((1, 1), rows, before=chunk(b"IDAT") * MAX_PIXEL_CHUNKS), SETTINGS)


def test_a_second_header_is_refused() -> None:
    other = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0))
    with pytest.raises(ImageError, match="damaged or incomplete"):
        read_header(png_of((1, 1), zlib.compress(bytes(6)), before=other), SETTINGS)


def test_a_real_file_passes_with_many_chunks(encoded: Write) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8))
    data = encoded(noise)
    assert data.count(b"IDAT") > 2
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(decode_image(data, SETTINGS), np.asarray(image))


@pytest.mark.parametrize("place", [10, 11, 12])
@pytest.mark.parametrize("method", [2, 7, 255])
def test_a_method_that_the_specification_does_not_know_is_refused(place: int, method: int) -> None:
    """Pillow takes any interlace method but 0 for Adam7, and decoded garbage."""
    size = (16, 16)
    whole = png_of(size, zlib.compress(bytes(4096)), (8, 2, 0))  # as many zeros as any order of rows takes
    header = bytearray(whole[16:29])
    header[place] = method
    with pytest.raises(ImageError, match="damaged"):
        decode_image(whole[:8] + chunk(b"IHDR", bytes(header)) + whole[33:], SETTINGS)
