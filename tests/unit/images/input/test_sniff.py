"""Formats are recognised by the first bytes that real writers produce, and nothing else is taken for one of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imagegen.images.input.sniff import other_format, supported_format


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP"])
def test_accepted_formats_as_pillow_writes_them(encoded: Callable[..., bytes], name: str) -> None:
    data = encoded(Image.new("RGB", (2, 2)), name)
    assert supported_format(data) == name
    assert other_format(data) is None


@pytest.mark.parametrize("name", ["GIF", "BMP", "TIFF", "ICO", "AVIF", "ICNS", "DDS"])
def test_other_formats_as_pillow_writes_them(encoded: Callable[..., bytes], name: str) -> None:
    data = encoded(Image.new("RGB", (16, 16)), name)
    assert supported_format(data) is None
    assert other_format(data) == name


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"<svg xmlns=", "SVG"),
        (b"<?xml version=", "XML"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"<!doctype HTML>", "HTML"),
        (b"\xef\xbb\xbf\r\n <HTML lang=en>", "HTML"),
        (b"\n<svg xmlns=", "SVG"),
        (b"<!DOCTYPE svg PUBLIC", "SVG"),
        (b"\x00\x00\x00\x18ftypheic", "HEIF"),
        (b"\x00\x00\x00\x18ftyphevc", "HEIF"),
        (b"\x00\x00\x00\x18ftypmif1", "HEIF"),
        (b"\x00\x00\x00\x20ftypavis", "AVIF"),
        (b"\x00\x00\x00\x18ftypisom", "MP4 or QuickTime"),
        (b"II+\x00\x08\x00", "BigTIFF"),
        (b"P6\n2 2\n255\n", "PNM"),
        (b"P1 2 2", "PNM"),
        (b"\x00\x00\x02\x00", "CUR"),
        (b"II\xbc\x01", "JPEG XR"),
        (b"\xff\x0a\xfa", "JPEG XL"),
        (b"qoif\x00", "QOI"),
        (b"%!PS-Adobe-3.0", "PostScript"),
        (b"%PDF-1.7", "PDF"),
        (b"PK\x03\x04", "ZIP"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\x00\x00\x00\x0cJXL \r\n", "JPEG XL"),
    ],
)
def test_files_that_people_send_by_mistake_have_a_name(data: bytes, name: str) -> None:
    assert supported_format(data) is None
    assert other_format(data) == name


def test_a_riff_file_of_another_kind_is_no_webp() -> None:
    assert supported_format(b"RIFF\x10\x00\x00\x00WAVEfmt ") is None
    assert supported_format(b"XXXX\x10\x00\x00\x00WEBPVP8 ") is None


@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=", min_size=3))
def test_base64_is_taken_for_no_accepted_format(text: str) -> None:
    assert supported_format(text.encode()) is None


@given(st.binary(max_size=3))
def test_three_bytes_are_enough_for_jpeg_alone(data: bytes) -> None:
    assert supported_format(data) in (None, "JPEG")
