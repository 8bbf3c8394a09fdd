"""Image files that are damaged, lie about themselves, or are made to fill a decoder's memory. All are small."""

from __future__ import annotations

import functools
import io
import random
import struct
import zlib
from collections.abc import Callable

from PIL import Image

from perf.hostile.bytes_mutation import mutated
from perf.workload import scene_png

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
Chunks = list[tuple[bytes, bytes]]

OTHER_FORMATS = (
    *(
        b"",
        b"\x00",
        b"GIF89a" + b"\0" * 50,
        b"BM" + b"\0" * 60,
        b"II*\0" + b"\xff" * 60,
        b"MM\0*\0\0\0\x08",
        b"%PDF-1.7\n",
    ),
    *(b"\0\0\x01\0\x01\0", b"8BPS\0\x01", b"<svg xmlns='http://www.w3.org/2000/svg' onload='x'/>", b"<!doctype html>"),
    *(
        b"PK\x03\x04" + b"\0" * 60,
        b"\x1f\x8b\x08" + b"\0" * 60,
        b"\0\0\0\x20ftypavif",
        b"\0\0\0\x18ftypheic",
        b"\x7fELF",
    ),
    *(
        b"RIFF\xff\xff\xff\xffWAVE",
        b"\xff\x4f\xff\x51",
        b"\0\0\0\x0cJXL \r\n\x87\n",
        b"P6 99999 99999 255\n",
        b"#!/bin/sh\n",
    ),
    *(
        _SIGNATURE,
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xd9",
        b"RIFF\0\0\0\0WEBP",
        b"RIFF\xff\xff\xff\xffWEBPVP8X",
        b"no image at all!",
    ),
)
"""Other formats, and beginnings of the accepted ones: all are refused."""


def wrong_file(dice: random.Random) -> bytes:
    """A file that has to be refused."""
    makers: tuple[Callable[[random.Random], bytes], ...] = (
        lambda dice: dice.choice(OTHER_FORMATS),
        lambda dice: dice.randbytes(dice.randrange(1, 3000)),
        _png_of_lying_size,
        _broken_png,
        _cut_png,
        _jpeg_of_lying_size,
        _webp_of_lying_size,
    )
    return dice.choice(makers)(dice)


def doubtful_file(dice: random.Random) -> bytes:
    """A file of which it depends whether it still is an image."""
    makers: tuple[Callable[[random.Random], bytes], ...] = (
        lambda dice: mutated(dice, scene_png(), 3),
        lambda dice: mutated(dice, encoded("JPEG"), 6),
        lambda dice: mutated(dice, encoded("WEBP"), 6),
        lambda dice: encoded(dice.choice(("JPEG", "WEBP")))[: dice.randrange(20, 900)],
        _png_with_odd_chunks,
        _jpeg_of_many_scans,
        lambda dice: encoded(dice.choice(("PNG", "JPEG", "WEBP"))) + dice.randbytes(5000),
    )
    return dice.choice(makers)(dice)


@functools.cache
def encoded(format_name: str) -> bytes:
    """The scene in a format that Pillow writes."""
    file = io.BytesIO()
    with Image.open(io.BytesIO(scene_png())) as scene:
        scene.save(file, format_name, **({"progressive": True} if format_name == "JPEG" else {}))
    return file.getvalue()


@functools.cache
def _scene_chunks() -> tuple[tuple[bytes, bytes], ...]:
    data, at = scene_png(), len(_SIGNATURE)
    chunks = []
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += length + 12
    return tuple(chunks)


def _png(chunks: Chunks, wrong_crc: int = -1) -> bytes:
    """A file of these chunks; that at the index `wrong_crc` has a wrong checksum."""
    data = _SIGNATURE
    for index, (kind, content) in enumerate(chunks):
        crc = zlib.crc32(kind + content) ^ (0x5A5A5A5A if index == wrong_crc else 0)
        data += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)
    return data


def _header(width: int, height: int, depth: int = 8, colour: int = 2, interlaced: int = 0) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)


def _png_of_lying_size(dice: random.Random) -> bytes:
    """Of no pixels, of more than any limit, or of more than its data has; sometimes with a bomb for data."""
    big = dice.choice(
        ((0, 64), (64, 0), (2**31 - 1, 1), (1, 2**31 - 1), (2**32 - 1, 2**32 - 1), (16_000, 16_000), (4000, 4000))
    )
    data = _bomb(dice.choice((10, 1000))) if dice.random() < 0.3 and big != (4000, 4000) else _scene_chunks()[1][1]
    return _png([_header(*big), (b"IDAT", data), (b"IEND", b"")])


def _broken_png(dice: random.Random) -> bytes:
    """A header that is no PNG's, or one that comes late, is missing or of the wrong length."""
    header, *rest = _scene_chunks()
    broken: tuple[Chunks, ...] = (
        [_header(64, 64, depth=3), *rest],
        [_header(64, 64, colour=5), *rest],
        [_header(64, 64, interlaced=7), *rest],
        [(b"IHDR", header[1][:-1]), *rest],
        [(b"IHDR", header[1] + b"\0"), *rest],
        [*rest],
        [rest[0], header, *rest[1:]],
        [header, (b"IEND", b"")],
        [header, (b"IDAT", b""), (b"IEND", b"")],
        [header, (b"IDAT", b"\x78\x9c" + b"\xff" * 100), (b"IEND", b"")],
        [_header(128, 128, colour=3), *rest],  # a palette that is not there
    )
    return _png(dice.choice(broken))


def _cut_png(dice: random.Random) -> bytes:
    """Cut off within its pixel data, or with a wrong checksum there."""
    if dice.random() < 0.3:
        return _png(list(_scene_chunks()), wrong_crc=dice.choice((0, 1)))
    return scene_png()[: dice.randrange(9, len(scene_png()) // 2)]


def _png_with_odd_chunks(dice: random.Random) -> bytes:
    """A right image among metadata that is broken, endless or a bomb."""
    header, *rest = _scene_chunks()
    odd = dice.choice(
        (
            [(b"zTXt", b"k\0\0" + _bomb(3000))],
            [(b"iTXt", b"k\0\1\0\0\0" + _bomb(2000))],
            [(b"iCCP", b"p\0\0" + _bomb(3000))],
            [(b"eXIf", b"MM\0*\xff\xff\xff\xff" + dice.randbytes(40))],
            [(b"ABCD", b"x")],  # said to be critical, and nobody knows it
            [(b"tEXt", b"")] * dice.choice((10, 5000)),
            [(b"tRNS", b"\0" * dice.choice((1, 6, 700)))],
            [(b"PLTE", b"\0" * dice.choice((1, 3, 900)))],
            [(b"acTL", struct.pack(">II", 2**31 - 1, 0)), (b"fcTL", dice.randbytes(26))],
            [(b"gAMA", b"\0\0\0\0"), (b"cHRM", b"\xff" * 32), (b"sRGB", b"\x09"), (b"pHYs", b"")],
        )
    )
    chunks = [header, *odd, *rest]
    return _png(chunks, wrong_crc=dice.choice((-1, 1)))


def _jpeg_of_lying_size(dice: random.Random) -> bytes:
    """A size in its frame header that is above every limit, or none at all."""
    data = bytearray(encoded("JPEG"))
    at = data.index(b"\xff\xc2") + 5  # SOF2: length, precision, then height and width
    data[at : at + 4] = dice.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xf0\xf0\x00", b"\x00\x40\x00\x00"))
    return bytes(data)


def _jpeg_of_many_scans(dice: random.Random) -> bytes:
    """The last scan over and over: each makes the decoder go over all of the image again."""
    data = encoded("JPEG")
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * dice.choice((2, 200, 2000)) + data[-2:]


def _webp_of_lying_size(dice: random.Random) -> bytes:
    """A canvas of up to 2^24 pixels a side around a small image."""
    still = encoded("WEBP")[12:]
    side = dice.choice((16_384, 2**24)) - 1
    extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + side.to_bytes(3, "little") * 2
    return b"RIFF" + struct.pack("<I", 4 + len(extended + still)) + b"WEBP" + extended + still


@functools.cache
def _bomb(kibibytes: int) -> bytes:
    """A deflate stream of zeros, a thousandth of what comes out of it."""
    return zlib.compress(bytes(kibibytes * 1024), 9)
