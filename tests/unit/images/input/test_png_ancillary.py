"""What is broken in a PNG beside its pixels never costs the image; what its pixels need does."""

from __future__ import annotations

import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from imagegen.images.input.decode import decode_image, decode_mask, read_header
from imagegen.images.input.errors import ImageError
from imagegen.images.input.settings import InputSettings
from tests.image_files import PNG_SIGNATURE, chunk, encoded, png_chunks, png_with

SETTINGS = InputSettings()
NOISE = Image.fromarray(np.random.default_rng(0).integers(1, 256, (6, 9, 3), dtype=np.uint8))
CLEAN = encoded(NOISE)
PIXELS = np.asarray(NOISE)
ANCILLARY = re.findall("....", "tEXtzTXtiTXtiCCPeXIfgAMAcHRMsRGBpHYstIMEsBITbKGDhISTsPLTcICPacTLfcTLfdATquIz")
BOMB = zlib.compress(bytes(2 << 20), 9)

BROKEN = {
    **{f"wrong sum of {name}": chunk(name.encode(), b"x" * 40, sum_off_by=1) for name in ANCILLARY},
    **{f"empty {name}": chunk(name.encode()) for name in ANCILLARY},
    **{f"short {name}": chunk(name.encode(), b"\1") for name in ANCILLARY},
    **{f"garbage in {name}": chunk(name.encode(), b"\xff\0\xfe" * 20) for name in ANCILLARY},
    **{f"too long {name}": chunk(name.encode(), b"long", length=2**31 - 1) for name in ANCILLARY},
    **{f"somewhat too long {name}": chunk(name.encode(), b"long", length=11) for name in ANCILLARY},
    **{f"too short {name}": chunk(name.encode(), b"x" * 40, length=3) for name in ANCILLARY},
    "2 MiB of zTXt": chunk(b"zTXt", b"Comment\0\0" + BOMB),
    "2 MiB of iTXt": chunk(b"iTXt", b"Comment\0\1\0\0\0" + BOMB),
    "2 MiB of iCCP": chunk(b"iCCP", b"name\0\0" + BOMB),
    "70 MiB of text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 20), 9)) * 70,
    "70 MiB of XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(1 << 20), 9)) * 70,
    "text that does not inflate": chunk(b"zTXt", b"Comment\0\0no zlib stream"),
    "text of an unknown compression": chunk(b"zTXt", b"Comment\0\7" + zlib.compress(b"text")),
    "profile of an unknown compression": chunk(b"iCCP", b"name\0\7" + zlib.compress(b"profile")),
    "EXIF that is none": chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff"),
    "many chunks": chunk(b"quIz") * 5000,
    "frames without an animation": chunk(b"fcTL", bytes(26)) + chunk(b"fdAT", bytes(9)),
    "an animation without frames": chunk(b"acTL", bytes(8)),
    "an endless animation": chunk(b"acTL", b"\xff" * 8),
    "two animations": chunk(b"acTL", struct.pack(">II", 3, 0)) * 2,
}


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_ancillary_chunks_do_not_cost_the_image(broken: str) -> None:
    for before in (b"IDAT", b"IEND"):
        data = png_with(CLEAN, BROKEN[broken], before)
        assert read_header(data, SETTINGS).size == (9, 6)
        assert np.array_equal(decode_image(data, SETTINGS), PIXELS), before


@pytest.mark.parametrize("broken", ["wrong sum of tEXt", "garbage in eXIf", "2 MiB of zTXt"])
def test_they_may_stand_between_the_pixels(broken: str) -> None:
    [(_, content)] = [part for part in png_chunks(CLEAN) if part[0] == b"IDAT"]
    halves = chunk(b"IDAT", content[:50]), BROKEN[broken], chunk(b"IDAT", content[50:])
    head = PNG_SIGNATURE + chunk(b"IHDR", png_chunks(CLEAN)[0][1])
    assert np.array_equal(decode_image(head + b"".join(halves) + chunk(b"IEND"), SETTINGS), PIXELS)


@pytest.mark.parametrize("tail", [b"", b"\0", b"\0" * 5000, CLEAN, b"\r\n", b"\xff" * 11])
@pytest.mark.parametrize("end", [chunk(b"IEND"), chunk(b"IEND", sum_off_by=1), b"\0\0\0\0IEND", b""])
def test_what_follows_the_pixels_does_not_matter(end: bytes, tail: bytes) -> None:
    data = CLEAN[: -len(chunk(b"IEND"))] + end + tail
    assert np.array_equal(decode_image(data, SETTINGS), PIXELS)


def test_a_broken_profile_or_orientation_gives_way_to_an_intact_one() -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    exif = tags.tobytes().removeprefix(b"Exif\0\0")
    data = png_with(CLEAN, chunk(b"eXIf", exif, sum_off_by=1) + chunk(b"eXIf", exif), b"IDAT")
    assert read_header(data, SETTINGS).size == (6, 9)
    assert np.array_equal(decode_image(data, SETTINGS), np.rot90(PIXELS, -1))


PALETTE = NOISE.quantize(8)
CLEAR_PALETTE = encoded(PALETTE, transparency=bytes([0, 128] + [255] * 6))
GREY = NOISE.convert("L")


def damaged(data: bytes, name: bytes) -> bytes:
    """A PNG with the last byte of the checksum of its first chunk of a name changed."""
    at = data.index(name)
    end = at + 4 + int.from_bytes(data[at - 4 : at], "big") + 3
    return data[:end] + bytes([data[end] ^ 1]) + data[end + 1 :]


def without(data: bytes, name: bytes) -> bytes:
    return PNG_SIGNATURE + b"".join(chunk(*part) for part in png_chunks(data) if part[0] != name)


NEEDED = {
    "header": damaged(CLEAN, b"IHDR"),
    "no header": without(CLEAN, b"IHDR"),
    "pixels": damaged(CLEAN, b"IDAT"),
    "no pixels": without(CLEAN, b"IDAT"),
    "palette": damaged(encoded(PALETTE), b"PLTE"),
    "no palette": without(encoded(PALETTE), b"PLTE"),
    "transparency of a palette": damaged(CLEAR_PALETTE, b"tRNS"),
    "transparency of grey": damaged(encoded(GREY, transparency=7), b"tRNS"),
    "short transparency of grey": png_with(encoded(GREY), chunk(b"tRNS", b"\0"), b"IDAT"),
    "short transparency of RGB": png_with(CLEAN, chunk(b"tRNS", b"\0\0\0"), b"IDAT"),
    "unknown critical chunk": png_with(CLEAN, chunk(b"QUIZ", b"x", sum_off_by=1), b"IDAT"),
    "cut in the pixels": CLEAN[:-30],
    "cut in the pixels, with an end": CLEAN[:-30] + chunk(b"IEND"),
    "cut in the checksum of the pixels": CLEAN[:-14],
}


@pytest.mark.parametrize("part", NEEDED)
@pytest.mark.parametrize("decode", [decode_image, decode_mask])
def test_what_the_pixels_need_is_refused_when_it_is_broken(part: str, decode: type) -> None:
    """Transparency too: without it, other parts of a mask would be repainted."""
    with pytest.raises(ImageError, match=r"^invalid_image: is a damaged or incomplete PNG file$"):
        decode(NEEDED[part], SETTINGS)


def test_transparency_survives_what_is_broken_beside_it() -> None:
    whole = decode_image(CLEAR_PALETTE, SETTINGS)
    for before in (b"PLTE", b"tRNS", b"IDAT"):
        data = png_with(CLEAR_PALETTE, BROKEN["wrong sum of iCCP"] + BROKEN["2 MiB of zTXt"], before)
        assert np.array_equal(decode_image(data, SETTINGS), whole)
    assert not np.array_equal(whole, decode_image(encoded(PALETTE), SETTINGS))


def test_the_search_behind_a_wrong_length_is_bounded() -> None:
    """Each place that looks like a chunk up to the end of the file would be summed up to there."""
    claims = b"".join(struct.pack(">I", 1_000_000) + b"IDAT" for _ in range(100_000))
    data = png_with(CLEAN, chunk(b"quIz", claims + bytes(1_000_000), length=2**31 - 1), b"IDAT")
    with pytest.raises(ImageError, match="damaged or incomplete"):
        decode_image(data, SETTINGS)
