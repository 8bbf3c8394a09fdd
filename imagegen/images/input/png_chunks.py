"""The chunks of a PNG file: what Pillow does not check, and what it finds only while it reads pixels.

Names and numbers are those of the PNG specification (https://www.w3.org/TR/png-3/). Nothing here decodes pixels, and
memory stays small whatever the file claims.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from PIL import PngImagePlugin

from imagegen.images.input.errors import TooLarge

# Real files have a few other chunks, and one part of the pixels per 4 KiB or more. Pillow handles chunks one by one and
# inflates up to 1 MiB for each: without limits, small files would keep it busy for minutes.
MAX_PIXEL_CHUNKS = 100_000
MAX_OTHER_CHUNKS = 1000
_PIXEL_CHUNKS = {b"IDAT", b"fcTL", b"fdAT"}

_FIRST_CHUNK = 8  # behind the signature
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # x, y, steps
_INPUT_PIECE = 1 << 16
_OUTPUT_PIECE = 1 << 20


def check_chunks(data: bytes) -> None:
    """Refuse a PNG whose chunks would take Pillow long, or whose header is not the one that counts.

    Raises:
        TooLarge: it has too many chunks.
        ValueError: it does not begin with its only IHDR.
    """
    headers = pixels = others = 0
    for kind, start, end in _chunks(data):
        if kind == b"IHDR":
            headers += 1
            if headers > 1 or end - start != 13 or start != _FIRST_CHUNK + 8:
                raise ValueError("IHDR is not the first chunk, or there are several")
        pixels += kind in _PIXEL_CHUNKS
        others += kind not in _PIXEL_CHUNKS
        if pixels > MAX_PIXEL_CHUNKS:
            raise TooLarge(f"has its pixels in more than {MAX_PIXEL_CHUNKS} PNG chunks")
        if others > MAX_OTHER_CHUNKS:
            raise TooLarge(f"has more than {MAX_OTHER_CHUNKS} PNG chunks besides those with pixels")
    if not headers:
        raise ValueError("no IHDR")


def check_sums(data: bytes) -> None:
    """Compare the checksums of all chunks, up to the end: Pillow looks at neither behind the start of the pixels.

    Raises:
        ValueError: a checksum is wrong, or the file is cut off.
    """
    for kind, start, end in _chunks(data):
        if kind == b"IEND":
            return
        if not kind.isalpha() or not _is_intact(data, start, end):
            raise ValueError("a chunk is damaged")
    raise ValueError("no IEND")


def bit_depth(data: bytes) -> int:
    """Bits per sample, or per palette index, of a PNG that `check_chunks` has passed."""
    return data[24]


def exif_chunk(data: bytes) -> bytes | None:
    """The content of the eXIf chunk, which may also follow the pixels; None when there is none."""
    return next((data[start:end] for kind, start, end in _chunks(data) if kind == b"eXIf"), None)


def without_unusable_profile(data: bytes) -> bytes:
    """`data` less a colour profile that Pillow would refuse the whole image for."""
    for kind, start, end in _chunks(data):
        if kind == b"iCCP" and _is_intact(data, start, end) and not _profile_is_usable(data[start:end]):
            return data[: start - 8] + data[end + 4 :]
    return data


def has_all_rows(data: bytes) -> bool:
    """Whether the pixel data of a PNG that `check_chunks` has passed are as long as its header demands.

    Pillow takes a complete zlib stream of too few rows for an image, and leaves the other rows black.
    """
    missing = _pixel_bytes(data)
    inflater = zlib.decompressobj()
    for piece in _pixel_data(data):
        while piece and not inflater.eof and missing > 0:
            missing -= len(inflater.decompress(piece, _OUTPUT_PIECE))
            piece = inflater.unconsumed_tail
        if inflater.eof or missing <= 0:
            break
    return missing <= 0 or len(inflater.flush()) >= missing


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of the content of each chunk, up to IEND or, where the file is cut off, the last whole one."""
    at = _FIRST_CHUNK
    while (start := at + 8) <= len(data):
        kind, end = data[at + 4 : start], start + int.from_bytes(data[at : at + 4], "big")
        if kind != b"IEND" and end > len(data):
            return
        yield kind, start, end
        if kind == b"IEND":
            return
        at = end + 4


def _is_intact(data: bytes, start: int, end: int) -> bool:
    return zlib.crc32(memoryview(data)[start - 4 : end]) == int.from_bytes(data[end : end + 4], "big")


def _profile_is_usable(content: bytes) -> bool:
    _, _, rest = content.partition(b"\0")  # behind the name
    if rest[:1] != b"\0":  # the only compression method
        return False
    inflater = zlib.decompressobj()
    try:
        inflater.decompress(rest[1:], PngImagePlugin.MAX_TEXT_CHUNK)
    except zlib.error:
        return True  # Pillow ignores such a one itself
    return not inflater.unconsumed_tail


def _pixel_data(data: bytes) -> Iterator[bytes]:
    """The first run of IDAT chunks in small pieces: what zlib has not yet used of a piece it copies each time."""
    found = False
    for kind, start, end in _chunks(data):
        if kind == b"IDAT":
            found = True
            for at in range(start, end, _INPUT_PIECE):
                yield data[at : min(at + _INPUT_PIECE, end)]
        elif found:
            return


def _pixel_bytes(data: bytes) -> int:
    """How long the inflated pixel data are to be: a filter byte and whole bytes of samples for each row."""
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    bits = bit_depth(data) * _CHANNELS[data[25]]
    if not data[28]:
        return height * (1 + (width * bits + 7) // 8)
    total = 0
    for x, y, step_x, step_y in _ADAM7:
        columns, rows = -(-(width - x) // step_x), -(-(height - y) // step_y)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total
