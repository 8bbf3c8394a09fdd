"""What is broken in a WebP beside its pixels never costs the image; animations have a file of their own."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from imagegen.images.input.decode import decode_image, read_header
from imagegen.images.input.errors import ImageError, TooLarge
from imagegen.images.input.settings import InputSettings
from imagegen.images.input.webp_chunks import MAX_CHUNKS
from tests.image_files import encoded, riff, swapped_profile, webp_chunk, webp_chunks, webp_header

SETTINGS = InputSettings()
NOISE = Image.fromarray(np.random.default_rng(0).integers(1, 256, (24, 39, 3), dtype=np.uint8))
CLEAR = NOISE.copy()
CLEAR.putalpha(Image.linear_gradient("L").resize(NOISE.size))
FILES = {
    "lossy": encoded(NOISE, "WEBP"),
    "lossless": encoded(NOISE, "WEBP", lossless=True),
    "lossy with alpha": encoded(CLEAR, "WEBP"),
    "lossless with alpha": encoded(CLEAR, "WEBP", lossless=True),
}
IMAGES = {
    kind: b"".join(webp_chunk(*part) for part in webp_chunks(data) if part[0] != b"VP8X")
    for kind, data in FILES.items()
}
METADATA = {"ICCP": 0x20, "EXIF": 0x08, "XMP ": 0x04, "quiz": 0}
BROKEN = {
    "empty": lambda name: webp_chunk(name, b""),
    "garbage in": lambda name: webp_chunk(name, b"\xff\0garbage" * 9),
    "too long": lambda name: webp_chunk(name, b"x" * 40, length=71),
    "much too long": lambda name: webp_chunk(name, b"x" * 40, length=2**32 - 1),
    "too short": lambda name: webp_chunk(name, b"x" * 40, length=5),
    "long": lambda name: webp_chunk(name, b"x" * 3_000_000),
    "twice": lambda name: webp_chunk(name, b"x" * 40) * 2,
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("name", METADATA)
@pytest.mark.parametrize("broken", BROKEN)
def test_broken_metadata_do_not_cost_the_image(broken: str, name: str, kind: str) -> None:
    extra, image = BROKEN[broken](name.encode()), IMAGES[kind]
    header = webp_header(NOISE.size, METADATA[name] | 0x10 * ("alpha" in kind))
    files = [riff(header, extra, image), riff(header, image, extra)]
    if not image.startswith(b"ALPH"):
        files.append(riff(image, extra))
    for data in files:
        assert read_header(data, SETTINGS).size == NOISE.size
        assert np.array_equal(decode_image(data, SETTINGS), decode_image(FILES[kind], SETTINGS))


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("size", [0, 4, 100, 2**31, 2**32 - 1])
def test_the_length_of_the_file_in_its_header_does_not_count(kind: str, size: int) -> None:
    data = FILES[kind][:4] + size.to_bytes(4, "little") + FILES[kind][8:]
    assert np.array_equal(decode_image(data, SETTINGS), decode_image(FILES[kind], SETTINGS))


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("tail", [b"\0" * 5000, b"\0" * 1_000_000, b"garbage", b"\xff", FILES["lossy"]])
def test_what_follows_the_image_does_not_matter(kind: str, tail: bytes) -> None:
    assert np.array_equal(decode_image(FILES[kind] + tail, SETTINGS), decode_image(FILES[kind], SETTINGS))


def test_a_padding_byte_may_be_missing() -> None:
    for shade in range(40):
        data = encoded(Image.new("RGB", (5 + shade, 5)), "WEBP")
        if webp_chunks(data)[0][1][-1:] and len(webp_chunks(data)[0][1]) % 2:
            assert decode_image(data[:-1], SETTINGS).shape == (5, 5 + shade, 3)


def test_what_changes_how_it_looks_is_kept() -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    pixels = decode_image(FILES["lossless"], SETTINGS)
    assert np.array_equal(
        decode_image(encoded(NOISE, "WEBP", lossless=True, exif=tags), SETTINGS), np.rot90(pixels, -1)
    )
    xmp = encoded(NOISE, "WEBP", lossless=True, xmp=b'<x tiff:Orientation="6"/>')
    assert read_header(xmp, SETTINGS).size == (24, 39)
    profile = swapped_profile()
    assert not np.array_equal(
        decode_image(encoded(NOISE, "WEBP", lossless=True, icc_profile=profile), SETTINGS), pixels
    )


@pytest.mark.parametrize("kind", FILES)
def test_pixels_that_are_missing_are_refused(kind: str) -> None:
    for kept in (0.3, 0.6, 0.95):
        cut = FILES[kind][: int(len(FILES[kind]) * kept)]
        whole_length = len(cut) - 20
        repaired = cut[:16] + whole_length.to_bytes(4, "little") + cut[20:]  # as far as the header goes
        for data in (cut, riff(cut[12:]), repaired if "alpha" not in kind else cut):
            with pytest.raises(ImageError, match="damaged or incomplete"):
                decode_image(data, SETTINGS)


def test_an_image_of_another_size_than_its_header_says_is_refused() -> None:
    with pytest.raises(ImageError, match="damaged or incomplete"):
        decode_image(riff(webp_header((39, 25), 0), IMAGES["lossy"]), SETTINGS)


def test_the_number_of_chunks_has_a_limit() -> None:
    header, extra = webp_header(NOISE.size, 0), webp_chunk(b"quiz", b"")
    assert decode_image(riff(header, extra * (MAX_CHUNKS - 2), IMAGES["lossy"]), SETTINGS).shape == (24, 39, 3)
    with pytest.raises(TooLarge, match=r"^too_large: has more than 100000 WebP chunks$"):
        decode_image(riff(header, extra * MAX_CHUNKS, IMAGES["lossy"]), SETTINGS)
