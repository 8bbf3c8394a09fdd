"""Every colour mode a PNG, JPEG or WebP can have comes out as the right sRGB, pixel by pixel."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from imagegen.images.input.decode import decode_image, decode_mask
from imagegen.images.input.settings import InputSettings
from tests.image_files import swapped_profile

SETTINGS = InputSettings()
Write = Callable[..., bytes]

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def png(depth: int, colour_type: int, row: bytes, width: int, **chunks: bytes) -> bytes:
    """A PNG of one row, written by hand: Pillow cannot write every depth and transparency it can read."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, 1, depth, colour_type, 0, 0, 0)
    before = b"".join(chunk(name.encode(), data) for name, data in chunks.items())
    pixels = zlib.compress(b"\0" + row)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def pixels_of(data: bytes) -> list[tuple[int, ...]]:
    pixels = decode_image(data, SETTINGS)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.shape[2] == 3
    return [tuple(int(value) for value in pixel) for pixel in pixels.reshape(-1, 3)]


GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6  # colour types of the PNG specification


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(png(1, GREY, b"\x40", 2), [BLACK, WHITE], id="grey 1 bit"),
        pytest.param(png(2, GREY, b"\x1b", 4), [(v,) * 3 for v in (0, 85, 170, 255)], id="grey 2 bits"),
        pytest.param(png(4, GREY, b"\x0f\x80", 3), [(v,) * 3 for v in (0, 255, 136)], id="grey 4 bits"),
        pytest.param(png(8, GREY, b"\x00\x7f\xff", 3), [(v,) * 3 for v in (0, 127, 255)], id="grey 8 bits"),
        pytest.param(
            png(16, GREY, b"\x00\x00\x12\x34\x80\x00\xff\xff", 4),
            [(v,) * 3 for v in (0, 0x12, 0x80, 255)],
            id="grey 16 bits",
        ),
        pytest.param(png(8, COLOUR, b"\x01\x02\x03\xfd\xfe\xff", 2), [(1, 2, 3), (253, 254, 255)], id="colour 8 bits"),
        pytest.param(png(16, COLOUR, b"\x01\xff\x02\xff\x03\xff", 1), [(1, 2, 3)], id="colour 16 bits"),
        pytest.param(png(1, PALETTE, b"\x40", 2, PLTE=bytes(RED + BLUE)), [RED, BLUE], id="palette 1 bit"),
        pytest.param(
            png(8, PALETTE, b"\x02\x00\x01", 3, PLTE=bytes(RED + GREEN + BLUE)), [BLUE, RED, GREEN], id="palette 8 bits"
        ),
        pytest.param(
            png(8, PALETTE, b"\x00\x01\x02", 3, PLTE=bytes(RED + GREEN + BLACK), tRNS=b"\xff\x00\x80"),
            [RED, WHITE, (127, 127, 127)],
            id="palette with alpha",
        ),
        pytest.param(
            png(8, PALETTE, b"\x00\x01", 2, PLTE=bytes(RED + GREEN), tRNS=b"\x00"),
            [WHITE, GREEN],
            id="palette with one clear entry",
        ),
        pytest.param(png(1, GREY, b"\x40", 2, tRNS=b"\x00\x00"), [WHITE, WHITE], id="grey 1 bit, black clear"),
        pytest.param(
            png(8, GREY, b"\x05\x06", 2, tRNS=b"\x00\x05"), [WHITE, (6, 6, 6)], id="grey 8 bits, one value clear"
        ),
        pytest.param(
            png(16, GREY, b"\x05\x01\x05\x02", 2, tRNS=b"\x05\x01"),
            [WHITE, (5, 5, 5)],
            id="grey 16 bits, one value clear",
        ),
        pytest.param(
            png(8, COLOUR, bytes(RED + GREEN), 2, tRNS=b"\x00\xff\x00\x00\x00\x00"),
            [WHITE, GREEN],
            id="colour 8 bits, one colour clear",
        ),
        pytest.param(
            png(8, GREY_ALPHA, b"\x07\xff\x00\x00\x00\x80", 3),
            [(7, 7, 7), WHITE, (127, 127, 127)],
            id="grey and alpha 8 bits",
        ),
        pytest.param(
            png(16, GREY_ALPHA, b"\x07\x00\xff\xff\x00\x00\x00\x00", 2), [(7, 7, 7), WHITE], id="grey and alpha 16 bits"
        ),
        pytest.param(
            png(8, COLOUR_ALPHA, bytes((*RED, 255, *RED, 0, *RED, 128)), 3),
            [RED, WHITE, (255, 127, 127)],
            id="colour and alpha 8 bits",
        ),
        pytest.param(
            png(16, COLOUR_ALPHA, b"\x01\x00\x02\x00\x03\x00\xff\xff" + bytes(8), 2),
            [(1, 2, 3), WHITE],
            id="colour and alpha 16 bits",
        ),
    ],
)
def test_png_pixels_are_exact(data: bytes, expected: list[tuple[int, ...]]) -> None:
    assert pixels_of(data) == expected


def test_a_clear_colour_of_16_bits_is_clear() -> None:
    row = b"\x01\x02\x03\x04\x05\x06" + b"\xff\xff\x00\x00\x00\x00"
    assert pixels_of(png(16, COLOUR, row, 2, tRNS=b"\x01\x02\x03\x04\x05\x06")) == [WHITE, RED]


def test_a_small_clear_colour_of_16_bits_is_clear() -> None:
    """All its values are below 256, like those of 8 bits."""
    row = b"\x00\xc8\x00\x05\x00\x00" + b"\xff\xff\x00\x00\x00\x00"
    data = png(16, COLOUR, row, 2, tRNS=b"\x00\xc8\x00\x05\x00\x00")
    assert pixels_of(data) == [WHITE, RED]
    assert decode_mask(data, SETTINGS).tolist() == [[255, 0]]


@pytest.mark.parametrize(
    ("depth", "row", "clear", "greys"),
    [
        (2, b"\x1b", 2, [0, 85, 255, 255]),
        (2, b"\x1b", 3, [0, 85, 170, 255]),
        (4, b"\x0f\x58", 5, [0, 255, 255, 136]),
        (4, b"\x0f\x58", 0, [255, 255, 85, 136]),
    ],
)
def test_a_clear_grey_of_few_bits_is_clear(depth: int, row: bytes, clear: int, greys: list[int]) -> None:
    data = png(depth, GREY, row, 4, tRNS=bytes((0, clear)))
    assert pixels_of(data) == [(grey,) * 3 for grey in greys]
    samples = [(int.from_bytes(row, "big") >> (8 * len(row) - depth * (x + 1))) & (2**depth - 1) for x in range(4)]
    assert decode_mask(data, SETTINGS).tolist() == [[255 if sample == clear else 0 for sample in samples]]


@pytest.mark.parametrize(("mode", "colour"), [("RGB", (10, 200, 30)), ("L", 77), ("CMYK", (0, 255, 255, 0))])
def test_jpeg_modes(encoded: Write, mode: str, colour: int | tuple[int, ...]) -> None:
    image = Image.new(mode, (16, 16), colour)
    expected = np.asarray(image.convert("RGB"), dtype=int)
    found = decode_image(encoded(image, "JPEG", quality=100, subsampling=0), SETTINGS).astype(int)
    assert abs(found - expected).max() <= 2  # JPEG is lossy


@pytest.mark.parametrize(("colour", "expected"), [((9, 8, 7), (9, 8, 7)), ((255, 0, 0, 0), WHITE), ((*RED, 255), RED)])
def test_webp_modes(encoded: Write, colour: tuple[int, ...], expected: tuple[int, ...]) -> None:
    image = Image.new("RGB" if len(colour) == 3 else "RGBA", (2, 1), colour)
    assert pixels_of(encoded(image, "WEBP", lossless=True, exact=True)) == [expected] * 2


@pytest.mark.parametrize("format_name", ["PNG", "WEBP"])
def test_the_first_frame_of_an_animation_counts(encoded: Write, format_name: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN, BLUE)]
    data = encoded(frames[0], format_name, save_all=True, append_images=frames[1:], lossless=True, duration=100)
    assert pixels_of(data) == [RED] * 16


def linear_grey_profile() -> bytes:
    """A minimal ICC profile (ICC.1:2001) for grey without gamma."""
    white = b"XYZ \0\0\0\0" + struct.pack(">iii", 63190, 65536, 54061)
    curve = b"curv\0\0\0\0" + struct.pack(">I", 0)
    header = struct.pack(">I4sI4s4s4s", 0, b"none", 0x02100000, b"mntr", b"GRAY", b"XYZ ") + bytes(12) + b"acsp"
    header = header.ljust(68, b"\0") + struct.pack(">iii", 63190, 65536, 54061)
    tags = struct.pack(">I4sII4sII", 2, b"wtpt", 156, 20, b"kTRC", 176, 12)
    profile = header.ljust(128, b"\0") + tags + white + curve
    return struct.pack(">I", len(profile)) + profile[4:]


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP"])
def test_an_embedded_profile_is_applied(encoded: Write, format_name: str) -> None:
    options = {"lossless": True} if format_name == "WEBP" else {"quality": 100, "subsampling": 0}
    data = encoded(Image.new("RGB", (8, 8), RED), format_name, icc_profile=swapped_profile(), **options)
    found = decode_image(data, SETTINGS).astype(int)
    assert abs(found - BLUE).max() <= 2


def test_a_profile_is_applied_under_transparency_and_palette(encoded: Write) -> None:
    image = Image.new("RGBA", (2, 1), (*RED, 255))
    image.putpixel((1, 0), (*RED, 0))
    assert pixels_of(encoded(image, icc_profile=swapped_profile())) == [BLUE, WHITE]
    palette = Image.new("RGB", (2, 1), RED).convert("P", palette=Image.Palette.ADAPTIVE)
    assert pixels_of(encoded(palette, icc_profile=swapped_profile())) == [BLUE] * 2


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_a_grey_profile_is_applied_to_grey(encoded: Write, mode: str) -> None:
    """Linear 128/255 is 188/255 in sRGB (IEC 61966-2-1)."""
    image = Image.new("L", (1, 1), 128).convert(mode)
    [pixel] = pixels_of(encoded(image, icc_profile=linear_grey_profile()))
    assert max(abs(value - 188) for value in pixel) <= 1


@pytest.mark.parametrize("profile", [b"broken", swapped_profile()[:200], linear_grey_profile(), bytes(128)])
def test_a_profile_that_is_broken_or_does_not_fit_is_ignored(encoded: Write, profile: bytes) -> None:
    assert pixels_of(encoded(Image.new("RGB", (1, 1), (1, 2, 3)), icc_profile=profile)) == [(1, 2, 3)]


def test_an_srgb_profile_changes_nothing(encoded: Write) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    ramp: npt.NDArray[np.uint8] = np.arange(768, dtype=np.uint32).reshape(16, 16, 3).astype(np.uint8)
    assert np.array_equal(decode_image(encoded(Image.fromarray(ramp), icc_profile=profile), SETTINGS), ramp)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(png(8, GREY, b"\x00\x80\xff", 3), [0, 128, 255], id="white is repainted"),
        pytest.param(png(16, GREY, b"\x00\x00\xff\xff", 2), [0, 255], id="grey 16 bits"),
        pytest.param(png(1, GREY, b"\x40", 2), [0, 255], id="one bit"),
        pytest.param(png(8, COLOUR, bytes(WHITE + BLACK + GREEN), 3), [255, 0, 150], id="luminance of colour"),
        pytest.param(
            png(8, COLOUR_ALPHA, bytes((*WHITE, 255, *BLACK, 0, *WHITE, 100)), 3), [0, 255, 155], id="alpha wins"
        ),
        pytest.param(
            png(8, COLOUR_ALPHA, bytes((*WHITE, 255, *BLACK, 255)), 2), [255, 0], id="alpha that is opaque does not"
        ),
        pytest.param(png(8, GREY_ALPHA, b"\xff\xff\xff\x00", 2), [0, 255], id="grey and alpha"),
        pytest.param(png(8, PALETTE, b"\x00\x01", 2, PLTE=bytes(WHITE + BLACK)), [255, 0], id="palette"),
        pytest.param(
            png(8, PALETTE, b"\x00\x01", 2, PLTE=bytes(WHITE + BLACK), tRNS=b"\xff\x00"), [0, 255], id="palette, alpha"
        ),
    ],
)
def test_masks(data: bytes, expected: list[int]) -> None:
    mask = decode_mask(data, SETTINGS)
    assert mask.dtype == np.uint8
    assert mask.tolist() == [expected]


def test_the_helpers_of_this_file_write_what_they_say() -> None:
    with Image.open(io.BytesIO(png(16, GREY, b"\x12\x34", 1))) as image:
        assert image.mode == "I;16"
        assert image.getpixel((0, 0)) == 0x1234
