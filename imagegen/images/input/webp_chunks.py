"""The chunks of a WebP file: its first image becomes a file of its own, without what it does not need.

Names and numbers are those of RFC 9649. Nothing here decodes pixels.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from imagegen.images.input.errors import TooLarge
from imagegen.images.input.parts import ImageParts, check_frame

MAX_CHUNKS = 100_000

_FILE_HEADER_BYTES = 12  # RIFF, the length of the file, WEBP
_IMAGES = {b"VP8 ", b"VP8L"}
_FOR_PIXELS = {b"ALPH", b"VP8 ", b"VP8L", b"ANMF"}
_NAME = re.compile(b"[ -~]{4}")
_FOUND_AGAIN = re.compile(b"ALPH|VP8 |VP8L|ANMF")
_MOST_SEARCHED = 100
_FRAME_HEADER_BYTES = 16
_HAS_ALPHA, _IS_ANIMATED = 0x10, 0x02  # flags of VP8X


def webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) in the first chunk of a WebP file, (0, 0) when there is none."""
    kind, content = data[12:16], data[20:30]
    if kind == b"VP8X" and len(content) == 10:
        return 1 + int.from_bytes(content[4:7], "little"), 1 + int.from_bytes(content[7:10], "little")
    return _image_size(kind, content)


def split_webp(data: bytes) -> ImageParts:
    """Take a WebP apart. The length in its file header does not count: writers get it wrong, and readers go on.

    Raises:
        TooLarge: it has too many chunks.
        ValueError: it has no whole image, or its first frame does not fit.
    """
    chunks = list(_chunks(data, _FILE_HEADER_BYTES))
    if not chunks:
        raise ValueError("no chunk")
    kind, extended = chunks[0]
    if kind in _IMAGES:
        return ImageParts(_file((kind, extended)))
    if kind != b"VP8X" or len(extended) < 10:
        raise ValueError("the first chunk is none of an image")
    size = webp_size(data)
    canvas, offset, image = None, (0, 0), chunks[1:]
    frames = [content for name, content in chunks if name == b"ANMF"]
    if extended[0] & _IS_ANIMATED:
        if not frames:
            raise ValueError("no frame")
        canvas, (size, offset, image) = size, _frame(frames[0])
        check_frame(size, offset, canvas)
    metadata = dict(reversed(chunks))  # the first of each kind counts
    return ImageParts(
        file=_still(size, image),
        canvas=canvas,
        offset=offset,
        frames=len(frames) if canvas else 1,
        exif=metadata.get(b"EXIF"),
        icc_profile=metadata.get(b"ICCP"),
        xmp=metadata.get(b"XMP "),
    )


def _frame(content: bytes) -> tuple[tuple[int, int], tuple[int, int], list[tuple[bytes, bytes]]]:
    """Size and offset in pixels, and the chunks, of an ANMF chunk."""
    x, y, width, height = (int.from_bytes(content[at : at + 3], "little") for at in (0, 3, 6, 9))
    return (1 + width, 1 + height), (2 * x, 2 * y), list(_chunks(content, _FRAME_HEADER_BYTES))


def _still(size: tuple[int, int], chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A file of the first image among `chunks`, with its alpha if that comes right before it."""
    alpha = None
    for kind, content in chunks:
        if kind == b"ALPH":
            alpha = alpha or content
        elif kind in _IMAGES:
            if _image_size(kind, content) != size:
                raise ValueError("the image has another size than its frame")
            if alpha is None or kind == b"VP8L":  # which has its own alpha
                return _file((kind, content))
            sides = b"".join((side - 1).to_bytes(3, "little") for side in size)
            return _file((b"VP8X", bytes([_HAS_ALPHA, 0, 0, 0]) + sides), (b"ALPH", alpha), (kind, content))
    raise ValueError("no image")


def _image_size(kind: bytes, content: bytes) -> tuple[int, int]:
    if kind == b"VP8L" and content[:1] == b"\x2f" and len(content) >= 5:
        bits = int.from_bytes(content[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and content[3:6] == b"\x9d\x01\x2a" and len(content) >= 10:
        width, height = struct.unpack_from("<HH", content, 6)
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


def _chunks(data: bytes, at: int) -> Iterator[tuple[bytes, bytes]]:
    """(type, content) of the chunks from `at`, up to where none follows any more."""
    has_image = False
    count = searched = 0
    while True:
        if not _is_chunk(data, at):
            if has_image or (found := _found_again(data, at, _MOST_SEARCHED - searched)) is None:
                return
            at, more = found
            searched += more
        count += 1
        if count > MAX_CHUNKS:
            raise TooLarge(f"has more than {MAX_CHUNKS} WebP chunks")
        kind, start = data[at : at + 4], at + 8
        end = start + int.from_bytes(data[at + 4 : start], "little")
        following = end + (end - start) % 2
        has_image |= kind in _IMAGES or kind == b"ANMF"
        if kind in _FOR_PIXELS or has_image or kind == b"VP8X" or _is_chunk(data, following):
            yield kind, data[start:end]
            at = following
        else:  # so its length is wrong, and what comes next may lie within
            at = start


def _is_chunk(data: bytes, at: int) -> bool:
    """Whether what begins at `at` looks like a chunk that ends within the file."""
    kind, length = data[at : at + 4], data[at + 4 : at + 8]
    return len(length) == 4 and bool(_NAME.fullmatch(kind)) and at + 8 + int.from_bytes(length, "little") <= len(data)


def _found_again(data: bytes, at: int, most: int) -> tuple[int, int] | None:
    """Where from `at` the next chunk lies that pixels need, and how many places were tried for it."""
    for tried, match in enumerate(_FOUND_AGAIN.finditer(data, at), start=1):
        if tried > most:
            return None
        start = match.end() + 4
        is_whole = _is_chunk(data, match.start())
        if is_whole and (match[0] not in _IMAGES or _image_size(match[0], data[start : start + 10]) != (0, 0)):
            return match.start(), tried
    return None


def _file(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = [b"WEBP"]
    for kind, content in chunks:
        parts += kind, struct.pack("<I", len(content)), content, bytes(len(content) % 2)
    return b"".join([b"RIFF", struct.pack("<I", sum(map(len, parts))), *parts])
