"""What is broken in a JPEG beside its pixels never costs the image."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from imagegen.images.input.decode import decode_image, read_header
from imagegen.images.input.errors import ImageError
from imagegen.images.input.settings import InputSettings
from tests.image_files import encoded, segment, swapped_profile

SETTINGS = InputSettings()
NOISE = Image.fromarray(np.random.default_rng(0).integers(1, 256, (24, 40, 3), dtype=np.uint8))
CLEAN = encoded(NOISE, "JPEG", quality=90)
PIXELS = decode_image(CLEAN, SETTINGS)
APPLICATION = {f"APP{marker - 0xE0}": marker for marker in range(0xE0, 0xF0)} | {"COM": 0xFE}
ICC = b"ICC_PROFILE\0"
XMP = b"http://ns.adobe.com/xap/1.0/\0"


def mp_index(*entries: tuple[int, int, int, int]) -> bytes:
    directory = b"".join(struct.pack("<HHLL", *entry) for entry in entries)
    return b"MPF\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory


BROKEN = {
    **{f"empty {name}": segment(marker) for name, marker in APPLICATION.items()},
    **{f"garbage in {name}": segment(marker, b"\xff\xd9\xff\xda\0" * 9) for name, marker in APPLICATION.items()},
    **{f"no length of {name}": segment(marker, b"xyz", length=0) for name, marker in APPLICATION.items()},
    **{f"length 1 of {name}": segment(marker, b"xyz", length=1) for name, marker in APPLICATION.items()},
    **{f"too short {name}": segment(marker, b"x" * 40, length=20) for name, marker in APPLICATION.items()},
    **{f"too long {name}": segment(marker, b"x" * 40, length=150) for name, marker in APPLICATION.items()},
    **{f"{name} beyond the end": segment(marker, b"x" * 40, length=65535) for name, marker in APPLICATION.items()},
    "short JFIF": segment(0xE0, b"JFIF"),
    "short JFIF with its zero": segment(0xE0, b"JFIF\0\1"),
    "short Adobe": segment(0xEE, b"Adobe"),
    "EXIF that is none": segment(0xE1, b"Exif\0\0garbage"),
    "EXIF with a directory outside": segment(0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff"),
    "EXIF of a resolution that is none": segment(
        0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\2\1\x1a\0\5\0\0\0\1\xff\xff\xff\xff\1\x28\0\3\0\0\0\1\0\2\0\0"
    ),
    "two halves of EXIF": segment(0xE1, b"Exif\0\0MM\0") + segment(0xE1, b"Exif\0\0"),
    "profile without a number": segment(0xE2, ICC),
    "profile with half a number": segment(0xE2, ICC + b"\1"),
    "profile of nothing": segment(0xE2, ICC + b"\1\1"),
    "profile of garbage": segment(0xE2, ICC + b"\1\1" + b"x" * 300),
    "profile without its second part": segment(0xE2, ICC + b"\1\2" + b"x" * 300),
    "profile with the same part twice": segment(0xE2, ICC + b"\1\2xyz") * 2,
    "index of several images that is none": segment(0xE2, b"MPF\0"),
    "index of no images": segment(0xE2, mp_index()),
    "index of images without entries": segment(0xE2, mp_index((0xB001, 4, 1, 2))),
    "index of images with entries outside": segment(0xE2, mp_index((0xB001, 4, 1, 3), (0xB002, 7, 48, 9999))),
    "index of images of another type": segment(0xE2, mp_index((0xB001, 2, 9, 4))),
    "half a resource of Photoshop": segment(0xED, b"Photoshop 3.0\x008BIM\3\xed"),
    "FlashPix": segment(0xE2, b"FPXR\0"),
    "XMP that is none": segment(0xE1, XMP + b"\xff\xfe<"),
    "long comments": segment(0xFE, b"x" * 65533) * 20,
    "bytes between": b"garbage",
    "padding": b"\xff" * 100,
    "restarts": b"\xff\xd0\xff\xd7",
}


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_metadata_do_not_cost_the_image(broken: str) -> None:
    first_table = CLEAN.index(b"\xff\xdb")
    for at in (2, first_table) if BROKEN[broken].startswith(b"\xff") else (first_table,):
        data = CLEAN[:at] + BROKEN[broken] + CLEAN[at:]
        assert read_header(data, SETTINGS).size == (40, 24)
        assert np.array_equal(decode_image(data, SETTINGS), PIXELS), at


@pytest.mark.parametrize("tail", [b"\0" * 5000, b"garbage", CLEAN, b"\xff", b"\xff\xff\xd9\xff\xda\xff"])
def test_what_follows_the_end_does_not_matter(tail: bytes) -> None:
    assert np.array_equal(decode_image(CLEAN + tail, SETTINGS), PIXELS)


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def test_what_changes_how_it_looks_is_kept() -> None:
    turned = encoded(NOISE, "JPEG", quality=90, exif=exif(6))
    assert read_header(turned, SETTINGS).size == (24, 40)
    assert np.array_equal(decode_image(turned, SETTINGS), np.rot90(PIXELS, -1))
    by_xmp = CLEAN[:2] + segment(0xE1, XMP + b'<x tiff:Orientation="6"/>') + CLEAN[2:]
    assert np.array_equal(decode_image(by_xmp, SETTINGS), np.rot90(PIXELS, -1))
    profile = swapped_profile()
    parts = [segment(0xE2, ICC + bytes([number, 2]) + part) for number, part in ((2, profile[99:]), (1, profile[:99]))]
    whole = encoded(NOISE, "JPEG", quality=90, icc_profile=profile)
    split = CLEAN[:2] + b"".join(parts) + CLEAN[2:]
    assert np.array_equal(decode_image(split, SETTINGS), decode_image(whole, SETTINGS))
    assert not np.array_equal(decode_image(split, SETTINGS), PIXELS)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "YCbCr"])
def test_colours_are_those_that_pillow_reads(mode: str) -> None:
    data = encoded(NOISE.convert(mode), "JPEG", quality=90)
    cleaner = data.replace(segment(0xEE, data[data.find(b"Adobe") :][:12]), b"")  # libjpeg then goes by other rules
    for file in (data, cleaner):
        with Image.open(io.BytesIO(file)) as image:
            assert np.array_equal(decode_image(file, SETTINGS), np.asarray(image.convert("RGB")))


def test_a_thumbnail_is_not_taken_for_the_image() -> None:
    """Behind a wrong length of EXIF data the next tables and pixels are those of the thumbnail."""
    thumbnail = encoded(Image.new("RGB", (8, 8), "red"), "JPEG")
    data = CLEAN[:2] + segment(0xE1, b"Exif\0\0" + thumbnail, length=65535) + CLEAN[2:]
    with pytest.raises(ImageError, match="damaged or incomplete"):
        decode_image(data, SETTINGS)


@pytest.mark.parametrize("marker", [0xDB, 0xC0, 0xC4, 0xDA])
def test_segments_that_the_pixels_need_are_refused_when_they_are_broken(marker: int) -> None:
    at = CLEAN.index(bytes([0xFF, marker]))
    for length in (b"\0\0", b"\xff\xff", b"\0\3"):
        with pytest.raises(ImageError, match="damaged or incomplete"):
            decode_image(CLEAN[: at + 2] + length + CLEAN[at + 4 :], SETTINGS)
