"""Files changed at random: never a wrong image, never anything but a refusal that the client understands."""

from __future__ import annotations

import io
import re
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagegen.images.input.decode import decode_image, decode_mask, has_transparency, read_header
from imagegen.images.input.errors import ImageError
from imagegen.images.input.settings import InputSettings
from tests.image_files import (
    PNG_SIGNATURE,
    animated_webp,
    chunk,
    encoded,
    frame_control,
    png_chunks,
    riff,
    segment,
    webp_chunk,
    webp_chunks,
    webp_frame,
    webp_header,
)

SETTINGS = InputSettings(max_image_pixels=10_000)
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (11, 13, 3), dtype=np.uint8))
CLEAR = NOISE.copy()
CLEAR.putalpha(NOISE.convert("L"))
examples = settings(max_examples=150, derandomize=True)


def animated_png() -> bytes:
    parts = png_chunks(encoded(NOISE.resize((5, 4))))
    control = chunk(b"acTL", struct.pack(">II", 1, 0)) + frame_control(0, (5, 4), (3, 2))
    header = struct.pack(">II", 13, 11) + parts[0][1][8:]
    return PNG_SIGNATURE + chunk(b"IHDR", header) + control + b"".join(chunk(*part) for part in parts[1:])


PNGS = [
    encoded(NOISE),
    encoded(CLEAR),
    encoded(NOISE.quantize(8), transparency=bytes([0, 128, 255])),
    encoded(NOISE.convert("1")),
    encoded(Image.new("I;16", (13, 11), 777)),
    animated_png(),
]
JPEGS = [
    encoded(NOISE, "JPEG", quality=90),
    encoded(NOISE.convert("L"), "JPEG"),
    encoded(NOISE.convert("CMYK"), "JPEG"),
    encoded(NOISE, "JPEG", progressive=True, restart_marker_blocks=1),
]
WEBPS = [
    encoded(NOISE, "WEBP"),
    encoded(CLEAR, "WEBP"),
    encoded(CLEAR, "WEBP", lossless=True),
    animated_webp((13, 11), webp_frame(NOISE.resize((5, 4)), (2, 2))),
]


def outcome(data: bytes) -> Any:
    """The pixels of a file, None when it is refused; whatever reads it agrees."""
    try:
        header = read_header(data, SETTINGS)
        pixels = decode_image(data, SETTINGS)
    except ImageError:
        return None
    assert pixels.shape == (header.size[1], header.size[0], 3)
    assert decode_mask(data, SETTINGS).shape == pixels.shape[:2]
    assert has_transparency(data, SETTINGS) in (True, False)
    return pixels


WHOLE = {data: outcome(data) for data in PNGS + JPEGS + WEBPS}
CHUNK_NAMES = st.sampled_from(
    re.findall(b"....", b"IHDRPLTEIDATIENDtRNSiCCPeXIftEXtzTXtiTXtacTLfcTLfdATgAMAquIzQUIZ"),
)
WITHOUT_MEANING = st.sampled_from([b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"gAMA", b"pHYs", b"hIST", b"fdAT", b"quIz"])


@st.composite
def png_chunk(draw: st.DrawFn, names: st.SearchStrategy[bytes], is_length_right: bool = False) -> bytes:
    content = draw(st.binary(max_size=30))
    length = len(content) if is_length_right else draw(st.one_of(st.just(len(content)), st.integers(0, 2**32 - 1)))
    return chunk(draw(names), content, sum_off_by=draw(st.sampled_from([0, 0, 1])), length=length)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # about what is damaged, for the log
@examples
@given(st.data())
def test_png_chunks_in_any_order_and_state(data: st.DataObject) -> None:
    parts = [chunk(*part) for part in png_chunks(data.draw(st.sampled_from(PNGS)))]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(parts)))
        change = data.draw(st.sampled_from(["insert", "delete", "repeat", "move"]))
        if change == "insert":
            parts.insert(at, data.draw(png_chunk(CHUNK_NAMES)))
        elif parts and change == "delete":
            del parts[at % len(parts)]
        elif parts and change == "repeat":
            parts.insert(at, parts[at % len(parts)])
        elif parts:
            parts.insert(at, parts.pop(data.draw(st.integers(0, len(parts) - 1))))
    outcome(PNG_SIGNATURE + b"".join(parts))


@examples
@given(st.data())
def test_png_chunks_without_meaning_for_pixels_change_nothing(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from(PNGS))
    parts = [chunk(*part) for part in png_chunks(whole)]
    for _ in range(data.draw(st.integers(1, 3))):
        # Behind a wrong length only what the pixels need is found again, which a control chunk is not.
        is_length_right = b"acTL" in whole
        parts.insert(data.draw(st.integers(1, len(parts))), data.draw(png_chunk(WITHOUT_MEANING, is_length_right)))
    assert np.array_equal(outcome(PNG_SIGNATURE + b"".join(parts)), WHOLE[whole])


@examples
@given(st.data())
def test_jpeg_segments_without_meaning_for_pixels_change_nothing(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from(JPEGS))
    extra = b""
    for _ in range(data.draw(st.integers(1, 3))):
        content = data.draw(st.binary(max_size=30))
        marker = data.draw(st.sampled_from([0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xEF, 0xFE]))
        extra += segment(marker, content)
    assert np.array_equal(outcome(whole[:2] + extra + whole[2:]), WHOLE[whole])


@examples
@given(st.data())
def test_webp_chunks_without_meaning_for_pixels_change_nothing(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from(WEBPS))
    parts = [webp_chunk(*part) for part in webp_chunks(whole)]
    if not whole[12:].startswith(b"VP8X"):
        parts.insert(0, webp_header((13, 11), 0x3C))
    for _ in range(data.draw(st.integers(1, 3))):
        content = data.draw(st.binary(max_size=30))
        name = data.draw(st.sampled_from([b"ICCP", b"XMP ", b"EXIF", b"quiz"]))
        parts.insert(data.draw(st.integers(1, len(parts))), webp_chunk(name, content))
    assert np.array_equal(outcome(riff(*parts, size=data.draw(st.integers(0, 2**32 - 1)))), WHOLE[whole])


@pytest.mark.parametrize("data", WHOLE, ids=lambda data: f"{data[:15].strip()!r} of {len(data)}")
def test_every_cut_is_refused_or_costs_nothing(data: bytes) -> None:
    whole = WHOLE[data]
    assert whole is not None
    step = max(1, len(data) // 150)
    cuts = {*range(0, len(data), step), *range(max(0, len(data) - 40), len(data))}
    kept = [cut for cut in cuts if (pixels := outcome(data[:cut])) is not None and not np.array_equal(pixels, whole)]
    assert kept == []


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@examples
@given(st.data())
def test_any_bytes_changed_give_pixels_or_a_refusal(data: st.DataObject) -> None:
    changed = bytearray(data.draw(st.sampled_from(sorted(WHOLE))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(changed)))
        changed[at : at + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
    outcome(bytes(changed))


def test_each_byte_of_a_png_that_the_pixels_need_is_checked() -> None:
    """One bit changed anywhere gives the same pixels, of what they do not need, or a refusal."""
    for data in PNGS[:3]:
        for at in range(8, len(data)):
            for bit in (0x01, 0x20):
                changed = data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
                pixels = outcome(changed)
                assert pixels is None or np.array_equal(pixels, WHOLE[data]), (at, bit)


def test_the_samples_are_read_as_pillow_reads_them() -> None:
    for data in (*PNGS[:2], *JPEGS, WEBPS[0]):
        with Image.open(io.BytesIO(data)) as image:
            shown = Image.new("RGBA", image.size, "white")
            shown.alpha_composite(image.convert("RGBA"))
            assert abs(np.asarray(shown.convert("RGB")).astype(int) - WHOLE[data]).max() <= 1
