"""Whether the pixels of a JPEG are all there: libjpeg fills up what is missing in front of the end marker with grey.

It says so only in a warning that Pillow does not pass on. But what lies between the pixels and the end marker makes a
difference to the decoded image if and only if something is missing: the decoder then reads that instead. So the image
is decoded several times, each time with other bytes there. Of two bytes one begins with a 0 and one with a 1, which
lead to different codes wherever the decoder stands; more of them, and random ones, make the difference large enough to
be seen in some pixel.
"""

from __future__ import annotations

import io
import random
import re
import zlib

from PIL import Image

from imagegen.images.input.jpeg_segments import END_OF_IMAGE, START_OF_SCAN

# A JPEG without an end is decoded once for each filling, so that it has to take less time each.
_MOST_SCANS = 20
_MOST_MARKERS = 20_000  # far above what `jpeg_scans` lets through in front of the pixels, and behind them there are few
_COEFFICIENTS = 64
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # other than stuffing, restarts and padding
_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended and progressive, with Huffman codes
_RANDOM = random.Random(0)
_MOST_ZEROS = 8  # that a JPEG may end with before the rest of them is taken for room that a download did not fill
_RESTARTS = [bytes([0xFF, 0xD0 + number]) for number in range(8)]
_RESTART_INTERVAL = b"\xff\xdd"
_FILLINGS = [bytes([first, *_RANDOM.choices(range(255), k=4096)]) for first in (0x00, 0x80, 0xC0, 0xF0)]


def with_end(data: bytes) -> tuple[bytes, bool]:
    """`data`, a JPEG, with an end marker, and whether it had one behind its first image.

    Raises:
        ValueError: it would take long to find out.
    """
    if _end(data) is not None:
        return data, True
    data = data[: len(data.rstrip(b"\0")) + _MOST_ZEROS]
    return data + (b"\x00" if data.endswith(b"\xff") else b"") + END_OF_IMAGE, False


def looks_cut(image: Image.Image) -> bool:
    """Whether the last pixel of a JPEG is of the grey that stands for missing ones, so that `check_pixels` is due."""
    pixel = image.getpixel((image.width - 1, image.height - 1))
    return all(value in (127, 128) for value in (pixel if isinstance(pixel, tuple) else (pixel,)))


def check_pixels(data: bytes, *, had_end: bool) -> None:
    """Check that no pixels are missing in front of the end marker of a JPEG, whose size is to be checked before.

    Args:
        data: with an end marker.
        had_end: whether it came with one; else whole scans may be missing too. With one, and so many scans that it
            would take too long, nothing is checked.

    Raises:
        ValueError: some are, or it would take too long to find out.
    """
    end = _end(data)
    scans, all_there = _scans(data[:end])
    if not had_end and (scans > _MOST_SCANS or not all_there):
        raise ValueError("scans are missing, or there are too many")
    if scans > _MOST_SCANS:
        return
    plain = _pixels_sum(data[:end] + END_OF_IMAGE)
    for filling in _FILLINGS:
        if _pixels_sum(data[:end] + _filled(data[:end], filling) + END_OF_IMAGE) != plain:
            raise ValueError("pixels are missing")


def _filled(data: bytes, filling: bytes) -> bytes:
    """What is to follow `data`; with restarts the decoder goes on behind the next of their markers, numbered 0..7."""
    if _RESTART_INTERVAL not in data:
        return filling
    last = max(range(8), key=lambda number: data.rfind(_RESTARTS[number]))
    first = 0 if data.rfind(_RESTARTS[last]) < 0 else last + 1
    return filling + b"".join(_RESTARTS[(first + number) % 8] + filling for number in range(8))


def _pixels_sum(file: bytes) -> int:
    with Image.open(io.BytesIO(file), formats=["JPEG"]) as image:
        return zlib.crc32(image.tobytes())


def _end(data: bytes) -> int | None:
    """Where the end marker of the first image lies; None when there is none.

    Raises:
        ValueError: it would take long to find out.
    """
    at, has_scan, markers = 0, False, 0
    while (match := _MARKER.search(data, at)) is not None:
        marker, at = match[0][1], match.end()
        markers += 1
        if markers > _MOST_MARKERS:
            raise ValueError("too many markers")
        if marker == END_OF_IMAGE[1] and has_scan:
            return match.start()
        has_scan |= marker == START_OF_SCAN
        if marker >= 0xC0 and marker not in (0xD8, 0xD9):
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
    return None


def _scans(data: bytes) -> tuple[int, bool]:
    """How many scans there are, and whether they have all bits of each coefficient of each component."""
    components: set[int] = set()
    covered: set[tuple[int, int]] = set()
    at = scans = 0
    while (match := _MARKER.search(data, at)) is not None:
        marker, at = match[0][1], match.end()
        if marker < 0xC0 or marker in (0xD8, 0xD9):
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        content, at = data[at + 2 : at + length], at + max(2, length)
        if marker in _FRAMES:
            components = set(content[6::3])
        elif marker == START_OF_SCAN and len(content) >= 4:
            scans += 1
            named, (first, last, bits) = content[1:-3:2], content[-3:]
            if not bits & 0x0F:
                covered |= {(name, index) for name in named for index in range(first, min(last + 1, _COEFFICIENTS))}
    return scans, len(covered) == _COEFFICIENTS * len(components) > 0
