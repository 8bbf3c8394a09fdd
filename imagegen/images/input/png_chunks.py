"""The chunks of a PNG file: what its pixels need has to be intact, anything else is left out when it is not.

Names and numbers are those of the PNG specification (https://www.w3.org/TR/png-3/). Nothing here decodes pixels, and
time and memory stay small whatever the file claims.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from imagegen.images.input.errors import TooLarge
from imagegen.images.input.parts import ImageParts, check_frame

# Real files have a few other chunks, and one part of the pixels per 4 KiB or more. A chunk takes 12 bytes and about a
# microsecond: without limits, a file of the largest size would keep a thread busy for seconds.
MAX_PIXEL_CHUNKS = 100_000
MAX_OTHER_CHUNKS = 100_000

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXEL_CHUNKS = {b"IDAT", b"fcTL", b"fdAT"}
_FOR_PIXELS = {b"PLTE", b"tRNS"}  # tRNS is called ancillary, but without it a mask would mean something else
_HEADER_BYTES, _CONTROL_BYTES, _ANIMATION_BYTES = 13, 26, 8
_PALETTE = 3  # colour type
_MAX_TEXT_BYTES = 1 << 20  # inflated, also of a colour profile
_FOUND_AGAIN = re.compile(b"PLTE|tRNS|IDAT")
_MOST_SEARCHED = 16


@dataclass
class _Found:
    """What the walk along the chunks has come by. The first of each kind counts, as in libpng."""

    for_pixels: list[tuple[bytes, bytes]] = field(default_factory=list)
    pixels: list[memoryview] = field(default_factory=list)  # by far the most bytes of a file, so they are not copied
    control: bytes | None = None
    frames: int = 0
    icc_profile: bytes | None = None
    exif: bytes | None = None
    raw_exif: bytes | None = None
    xmp: bytes | None = None

    def add(self, kind: bytes, content: memoryview) -> None:
        """Take in an intact chunk."""
        if kind == b"IDAT":
            self.pixels.append(content)
        elif kind == b"eXIf":  # may also follow the pixels
            self.exif = self.exif or bytes(content)
        elif not self.pixels:
            self._add_before_pixels(kind, bytes(content))

    def _add_before_pixels(self, kind: bytes, content: bytes) -> None:
        if kind in _FOR_PIXELS:
            self.for_pixels.append((kind, content))
        elif kind == b"iCCP" and self.icc_profile is None:
            self.icc_profile = _inflated_behind_name(content)
        elif kind == b"fcTL" and self.control is None and len(content) == _CONTROL_BYTES:
            self.control = content
        elif kind == b"acTL" and not self.frames and len(content) == _ANIMATION_BYTES:
            self.frames = int.from_bytes(content[:4], "big")
        elif kind == b"iTXt" and self.xmp is None and content.startswith(b"XML:com.adobe.xmp\0"):
            self.xmp = _international_text(content)
        elif content.startswith(b"Raw profile type exif\0") and self.raw_exif is None:  # as ImageMagick writes it
            text = _inflated_behind_name(content) if kind == b"zTXt" else content.partition(b"\0")[2]
            self.raw_exif = _hexadecimal(text) if kind in (b"zTXt", b"tEXt") else None


def png_size(data: bytes) -> tuple[int, int]:
    """(width, height) in the header of a PNG file, (0, 0) when it has none."""
    if data[12:16] != b"IHDR":
        return 0, 0
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def bit_depth(data: bytes) -> int:
    """Bits per sample, or per palette index, of a PNG that `split_png` has made."""
    return data[24]


def split_png(data: bytes) -> ImageParts:
    """Take a PNG apart. Its size is to be checked before.

    Raises:
        TooLarge: it has too many chunks.
        ValueError: it does not begin with its only IHDR, or what its pixels need is damaged, missing or unknown.
    """
    header = data[16:29]
    if data[8:16] != struct.pack(">I", _HEADER_BYTES) + b"IHDR" or not _is_intact(data, 16, 29):
        raise ValueError("no IHDR at the beginning")
    if header[10:12] != b"\0\0" or header[12] > 1:
        raise ValueError("an unknown method of compression, filtering or interlacing")
    found = _Found()
    for kind, content in _intact_chunks(data):
        found.add(kind, content)
    if not found.pixels:
        raise ValueError("no IDAT")
    if header[9] == _PALETTE and not any(kind == b"PLTE" for kind, _ in found.for_pixels):
        raise ValueError("no PLTE")
    file = _written(header, found)
    canvas, offset = None, (0, 0)
    if (frame := _first_frame(found, png_size(data))) is not None:
        canvas, (size, offset) = png_size(data), frame
        file = _written(struct.pack(">II", *size) + header[8:], found)
    return ImageParts(
        file=file,
        canvas=canvas,
        offset=offset,
        frames=max(1, found.frames + (found.frames > 0 and found.control is None)),  # a default image is one more
        exif=found.exif or found.raw_exif,
        icc_profile=found.icc_profile,
        xmp=found.xmp,
    )


def _first_frame(found: _Found, canvas: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Size and offset in pixels of the frame that IDAT is; None when it is no frame, or one that cannot be."""
    if not found.frames or found.control is None:
        return None
    width, height, x, y = struct.unpack(">IIII", found.control[4:20])
    try:
        check_frame((width, height), (x, y), canvas)
    except ValueError:
        return None
    return (width, height), (x, y)


def _written(header: bytes, found: _Found) -> bytes:
    parts = [_chunk(b"IHDR", header), *(_chunk(*part) for part in found.for_pixels)]
    return b"".join([_SIGNATURE, *parts, *_pixel_chunk(found.pixels), _chunk(b"IEND", b"")])


def _pixel_chunk(pixels: list[memoryview]) -> list[bytes | memoryview]:
    checksum = zlib.crc32(b"IDAT")
    for part in pixels:
        checksum = zlib.crc32(part, checksum)
    return [struct.pack(">I", sum(map(len, pixels))), b"IDAT", *pixels, struct.pack(">I", checksum)]


def _intact_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """(type, content) of the chunks behind the header, up to the end, or to where no chunk follows any more.

    Raises:
        TooLarge: there are too many.
        ValueError: one that the pixels need is damaged, or a second IHDR comes.
    """
    pixels = others = searched = 0
    has_pixels = False
    at = len(_SIGNATURE) + 8 + _HEADER_BYTES + 4
    while True:
        if not _is_chunk(data, at):
            if data[at + 4 : at + 8] in _FOR_PIXELS and not has_pixels:
                raise ValueError("a chunk that the pixels need runs out of the file")
            if has_pixels or (found := _found_again(data, at, _MOST_SEARCHED - searched)) is None:
                return
            at, more = found
            searched += more
        kind, start = data[at + 4 : at + 8], at + 8
        end = start + int.from_bytes(data[at : at + 4], "big")
        pixels += kind in _PIXEL_CHUNKS
        others += kind not in _PIXEL_CHUNKS
        if pixels > MAX_PIXEL_CHUNKS:
            raise TooLarge(f"has its pixels in more than {MAX_PIXEL_CHUNKS} PNG chunks")
        if others > MAX_OTHER_CHUNKS:
            raise TooLarge(f"has more than {MAX_OTHER_CHUNKS} PNG chunks besides those with pixels")
        if kind == b"IEND":
            return
        at = end + 4
        if _is_intact(data, start, end):
            if kind == b"IHDR":
                raise ValueError("there are several IHDR")
            has_pixels |= kind == b"IDAT"
            yield kind, memoryview(data)[start:end]
        elif kind[:1].isupper() or kind in _FOR_PIXELS or _is_intact(data, start, end, b"tRNS"):  # one, misspelled
            raise ValueError(f"{kind!r} is damaged")
        elif not _is_chunk(data, at):  # so it is the length that is wrong, and what comes next may lie within
            at = start


def _is_chunk(data: bytes, at: int) -> bool:
    """Whether what begins at `at` looks like a chunk that ends within the file."""
    kind = data[at + 4 : at + 8]
    if kind == b"IEND":
        return True
    return len(kind) == 4 and kind.isalpha() and at + 12 + int.from_bytes(data[at : at + 4], "big") <= len(data)


def _found_again(data: bytes, at: int, most: int) -> tuple[int, int] | None:
    """Where behind `at` the next intact chunk lies that the pixels need, and how many places were tried for it."""
    for tried, match in enumerate(_FOUND_AGAIN.finditer(data, at + 4), start=1):
        if tried > most:
            return None
        begin = match.start() - 4
        if _is_intact(data, begin + 8, begin + 8 + int.from_bytes(data[begin : begin + 4], "big")):
            return begin, tried
    return None


def _is_intact(data: bytes, start: int, end: int, kind: bytes | None = None) -> bool:
    """Whether the checksum of a chunk is right, as that of a chunk of another `kind` if one is given."""
    if end + 4 > len(data):
        return False
    checksum = zlib.crc32(memoryview(data)[start:end], zlib.crc32(kind or data[start - 4 : start]))
    return checksum == int.from_bytes(data[end : end + 4], "big")


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return b"".join([struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)])


def _inflated_behind_name(content: bytes) -> bytes | None:
    """The compressed part of an iCCP or zTXt chunk, None when it is broken or too large."""
    _, _, rest = content.partition(b"\0")
    return _inflated(rest[1:]) if rest[:1] == b"\0" else None  # 0 is the only compression method


def _international_text(content: bytes) -> bytes | None:
    """The text of an iTXt chunk in UTF-8, None when it is broken or too large."""
    _, _, rest = content.partition(b"\0")
    text = rest[2:].split(b"\0", 2)[2:]  # behind the language and the translated keyword
    if not text:
        return None
    return _inflated(text[0]) if rest[0] else text[0]


def _inflated(compressed: bytes) -> bytes | None:
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(compressed, _MAX_TEXT_BYTES)
    except zlib.error:
        return None
    return content if inflater.eof else None


def _hexadecimal(text: bytes | None) -> bytes | None:
    """The bytes in a raw profile: a line feed, its type, its length and lines of hexadecimal digits."""
    try:
        return bytes.fromhex("".join((text or b"").decode("ascii").split("\n")[3:])) or None
    except ValueError:
        return None
