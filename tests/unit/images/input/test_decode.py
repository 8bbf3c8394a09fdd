"""Hostile files: too large, lying, cut off, damaged. And EXIF orientation."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from imagegen.images.input.decode import Header, decode_image, decode_mask, read_header
from imagegen.images.input.errors import ImageError
from imagegen.images.input.settings import InputSettings

SETTINGS = InputSettings()
Write = Callable[..., bytes]
FORMATS = ["PNG", "JPEG", "WEBP"]
LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 100, "subsampling": 0},
    "WEBP": {"lossless": True},
}


def noise(width: int = 40, height: int = 30) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def with_png_size(data: bytes, width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def with_jpeg_size(data: bytes, width: int, height: int) -> bytes:
    at = data.index(b"\xff\xc0") + 5  # start of frame: marker, length, precision, height, width
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def with_webp_size(data: bytes, width: int, height: int) -> bytes:
    kind = data[12:16]
    if kind == b"VP8X":
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        return data[:24] + size + data[30:]
    if kind == b"VP8L":
        bits = (width - 1) | (height - 1) << 14 | int.from_bytes(data[21:25], "little") & 0xF000_0000
        return data[:21] + bits.to_bytes(4, "little") + data[25:]
    return data[:26] + struct.pack("<HH", width, height) + data[30:]


def large_files(encoded: Write) -> dict[str, bytes]:
    """Small files whose headers announce 16383x16383 pixels, by kind."""
    size = 16_383, 16_383
    alpha = noise().convert("RGBA")
    alpha.putpixel((0, 0), (0, 0, 0, 0))
    return {
        "PNG": with_png_size(encoded(noise(), "PNG"), *size),
        "JPEG": with_jpeg_size(encoded(noise(), "JPEG"), *size),
        "WEBP lossy": with_webp_size(encoded(noise(), "WEBP"), *size),
        "WEBP lossless": with_webp_size(encoded(noise(), "WEBP", lossless=True), *size),
        "WEBP extended": with_webp_size(encoded(alpha, "WEBP"), *size),
    }


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP lossy", "WEBP lossless", "WEBP extended"])
@pytest.mark.parametrize("decode", [decode_image, decode_mask])
def test_a_bomb_is_refused_by_its_header(encoded: Write, kind: str, decode: Callable[..., object]) -> None:
    with pytest.raises(
        ImageError,
        match=r"^too_large: has 16383x16383 pixels; a side is at most 16384 and width x height at most 33554432",
    ):
        decode(large_files(encoded)[kind], SETTINGS)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP lossy", "WEBP lossless", "WEBP extended"])
def test_a_header_that_lies_within_the_limits_is_found_out(encoded: Write, kind: str) -> None:
    settings = InputSettings(max_image_pixels=2**29)
    with pytest.raises(ImageError, match="damaged or incomplete"):
        decode_image(large_files(encoded)[kind][:60], settings)


def test_the_largest_png_header_is_refused_without_a_warning(encoded: Write) -> None:
    with pytest.raises(ImageError, match="has 2147483647x2147483647 pixels"):
        decode_image(with_png_size(encoded(noise(), "PNG"), 2**31 - 1, 2**31 - 1), SETTINGS)


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_limits_are_inclusive(encoded: Write, format_name: str) -> None:
    data = encoded(noise(40, 30), format_name)
    assert decode_image(data, InputSettings(max_image_side_px=40, max_image_pixels=1200)).shape == (30, 40, 3)
    with pytest.raises(ImageError, match="has 40x30 pixels; a side is at most 39"):
        decode_image(data, InputSettings(max_image_side_px=39))
    with pytest.raises(ImageError, match="width x height at most 1199"):
        decode_image(data, InputSettings(max_image_pixels=1199))


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.99])
def test_a_file_that_is_cut_off_is_refused(encoded: Write, format_name: str, kept: float) -> None:
    data = encoded(noise(), format_name)
    with pytest.raises(
        ImageError, match=f"^invalid_image: (is a damaged or incomplete {format_name} file|is not an image|is empty)"
    ):
        decode_image(data[: int(len(data) * kept)], SETTINGS)


def test_a_changed_byte_of_a_png_is_noticed(encoded: Write) -> None:
    """Pillow skips the checksums of pixel data by default. The last 12 bytes, the end chunk, hold none."""
    data = encoded(noise(), "PNG")
    for at in range(len(b"\x89PNG\r\n\x1a\n"), len(data) - 12):
        damaged = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(ImageError):
            decode_image(damaged, SETTINGS)


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"not an image"]
)
def test_refusals_show_nothing_of_the_inside(data: bytes) -> None:
    """Texts of Pillow's exceptions quote addresses of objects (CVE-2026-22778)."""
    with pytest.raises(ImageError) as caught:
        decode_image(data, SETTINGS)
    assert "0x" not in str(caught.value)
    assert "BytesIO" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("format_name", ["GIF", "BMP", "TIFF", "ICO", "PPM", "AVIF", "JPEG2000", "ICNS", "DDS"])
def test_other_formats_are_refused_by_name(encoded: Write, format_name: str) -> None:
    name = {"PPM": "PNM", "JPEG2000": "JPEG 2000"}.get(format_name, format_name)
    with pytest.raises(
        ImageError,
        match=rf"^unsupported_media_type: is in the {name} format; accepted formats are PNG, JPEG, WEBP$",
    ):
        decode_image(encoded(noise(16, 16), format_name), SETTINGS)


def test_the_setting_narrows_the_formats(encoded: Write) -> None:
    settings = InputSettings(formats=("PNG",))
    assert decode_image(encoded(noise(), "PNG"), settings).shape == (30, 40, 3)
    with pytest.raises(ImageError, match="is in the JPEG format; accepted formats are PNG"):
        decode_image(encoded(noise(), "JPEG"), settings)


def exif(orientation: int) -> bytes:
    data = Image.Exif()
    data[0x0112] = orientation
    return data.tobytes()


# What a viewer shows of the stored rows [[1, 2, 3], [4, 5, 6]], by orientation (EXIF 2.32, section 4.6.4).
UPRIGHT = {
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[4, 1], [5, 2], [6, 3]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[3, 6], [2, 5], [1, 4]],
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("format_name", FORMATS)
def test_images_and_masks_are_turned_upright(encoded: Write, format_name: str, orientation: int) -> None:
    stored = np.array(UPRIGHT[1], dtype=np.uint8) * np.uint8(40)
    blocks = stored.repeat(8, axis=0).repeat(8, axis=1)  # one JPEG block each
    image = Image.fromarray(np.stack([blocks] * 3, axis=2))
    data = encoded(image, format_name, exif=exif(orientation), **LOSSLESS[format_name])
    expected = np.array(UPRIGHT[orientation])
    for pixels in (decode_image(data, SETTINGS)[..., 0], decode_mask(data, SETTINGS)):
        assert np.rint(pixels[::8, ::8] / 40).astype(int).tolist() == expected.tolist()
        assert pixels.shape == (expected.shape[0] * 8, expected.shape[1] * 8)


def test_the_alpha_of_a_mask_is_turned_upright(encoded: Write) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 255))
    image.putpixel((0, 0), (0, 0, 0, 0))
    assert decode_mask(encoded(image, exif=exif(3)), SETTINGS).tolist() == [[0, 255]]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # about the broken data, for the log
@pytest.mark.parametrize(
    "broken", [b"Exif\0\0", b"Exif\0\0garbage that is no TIFF header", exif(6)[:20], exif(0), exif(9), b"\0" * 50]
)
def test_a_image_with_broken_exif_data_is_used_as_it_is(encoded: Write, broken: bytes) -> None:
    data = encoded(Image.new("RGB", (24, 16)), "JPEG", exif=broken)
    assert decode_image(data, SETTINGS).shape == (16, 24, 3)


def test_an_empty_file_is_called_so() -> None:
    with pytest.raises(ImageError, match=r"^invalid_image: is empty$"):
        decode_image(b"", SETTINGS)


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_header_has_the_size_that_a_viewer_shows(encoded: Write, format_name: str, orientation: int) -> None:
    data = encoded(noise(40, 30), format_name, exif=exif(orientation))
    assert read_header(data, SETTINGS) == Header(format_name, (30, 40) if orientation >= 5 else (40, 30), 1)


@pytest.mark.parametrize("format_name", ["PNG", "WEBP"])
def test_the_header_counts_frames(encoded: Write, format_name: str) -> None:
    frames = [Image.new("RGB", (8, 8), (index * 60, 0, 0)) for index in range(5)]
    data = encoded(frames[0], format_name, save_all=True, append_images=frames[1:])
    assert read_header(data, SETTINGS).frames == 5


def test_a_jpeg_of_several_images_is_read_as_its_first(encoded: Write) -> None:
    """Phones write such files (MPO), for instance with a gain map behind the image."""
    frames = [Image.new("RGB", (512, 512), colour) for colour in ((200, 0, 0), (0, 200, 0))]
    data = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert read_header(data, SETTINGS) == Header("JPEG", (512, 512), 2)
    for size in (None, (64, 64)):
        assert abs(decode_image(data, SETTINGS, size)[4, 4].astype(int) - (200, 0, 0)).max() <= 2


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_is_read_coarsely_but_right(
    encoded: Write, monkeypatch: pytest.MonkeyPatch, mode: str, orientation: int
) -> None:
    ramp = np.add.outer(np.arange(768), np.arange(1024)) * 255 // (768 + 1024)
    image = Image.fromarray(ramp.astype(np.uint8)).convert(mode)
    data = encoded(image, "JPEG", quality=95, exif=exif(orientation))
    read_at: list[tuple[int, int]] = []
    load = JpegImageFile.load

    def noting_load(self: JpegImageFile) -> Any:
        read_at.append(self.size)
        return load(self)

    monkeypatch.setattr(JpegImageFile, "load", noting_load)
    size = (96, 128) if orientation == 6 else (128, 96)
    coarse = decode_image(data, SETTINGS, size).astype(int)
    assert read_at[0] == (256, 192)
    exact = np.asarray(Image.fromarray(decode_image(data, SETTINGS)).resize(size, Image.Resampling.LANCZOS)).astype(int)
    assert abs(coarse - exact).max() <= 4
    assert coarse.shape == (size[1], size[0], 3)


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.9])
def test_a_large_jpeg_that_is_cut_off_is_refused_though_read_coarsely(encoded: Write, kept: float) -> None:
    data = encoded(noise(1024, 768), "JPEG")
    with pytest.raises(ImageError, match="damaged or incomplete"):
        decode_image(data[: int(len(data) * kept)], SETTINGS, (64, 64))
