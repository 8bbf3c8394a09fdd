"""Writes image files part by part, also such as no encoder would write."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image, ImageCms

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encoded(image: Image.Image, format_name: str = "PNG", **options: Any) -> bytes:
    """`image` as Pillow writes it."""
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def chunk(name: bytes, content: bytes = b"", *, sum_off_by: int = 0, length: int | None = None) -> bytes:
    """A chunk of a PNG; its checksum can be wrong, and so can its length."""
    checksum = zlib.crc32(name + content) ^ sum_off_by
    return struct.pack(">I", len(content) if length is None else length) + name + content + struct.pack(">I", checksum)


def png_of(size: tuple[int, int], pixels: bytes, kind: tuple[int, int, int] = (8, 0, 0), before: bytes = b"") -> bytes:
    """A PNG of any pixel data, as IDAT; `kind` is bit depth, colour type and interlacing."""
    depth, colour_type, interlaced = kind
    header = struct.pack(">IIBBBBB", *size, depth, colour_type, 0, 0, interlaced)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before
    return start + chunk(b"IDAT", pixels) + chunk(b"IEND")


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The (name, content) of all chunks of a PNG that is in order."""
    chunks, at = [], len(PNG_SIGNATURE)
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def png_with(data: bytes, extra: bytes, before: bytes) -> bytes:
    """The PNG `data` with the bytes `extra` in front of its first chunk of the name `before`."""
    at = data.index(before) - 4
    return data[:at] + extra + data[at:]


def frame_control(number: int, size: tuple[int, int], offset: tuple[int, int]) -> bytes:
    """The chunk fcTL of an animated PNG: shown for a tenth of a second."""
    return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, *size, *offset, 1, 10, 0, 0))


def segment(marker: int, content: bytes = b"", *, length: int | None = None) -> bytes:
    """A segment of a JPEG; its length, which counts its own two bytes, can be wrong."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2 if length is None else length) + content


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    """A WebP file of these chunks; its size can be wrong."""
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def webp_chunk(name: bytes, content: bytes, *, length: int | None = None) -> bytes:
    """A chunk of a WebP, padded to an even length; its length can be wrong."""
    size = len(content) if length is None else length
    return name + struct.pack("<I", size) + content + bytes(len(content) % 2)


def webp_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The (name, content) of all chunks of a WebP that is in order."""
    chunks, at = [], 12
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        chunks.append((data[at : at + 4], data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return chunks


def webp_header(size: tuple[int, int], flags: int) -> bytes:
    """The chunk VP8X: flags 0x20 profile, 0x10 alpha, 0x08 EXIF, 0x04 XMP, 0x02 animation (RFC 9649)."""
    return webp_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + b"".join((side - 1).to_bytes(3, "little") for side in size))


def webp_frame(image: Image.Image, offset: tuple[int, int], **options: Any) -> bytes:
    """The chunk ANMF: `image` at an even offset."""
    parts = [webp_chunk(*part) for part in webp_chunks(encoded(image, "WEBP", **options)) if part[0] != b"VP8X"]
    head = [offset[0] // 2, offset[1] // 2, image.width - 1, image.height - 1, 100]
    return webp_chunk(b"ANMF", b"".join(value.to_bytes(3, "little") for value in head) + b"\2" + b"".join(parts))


def animated_webp(size: tuple[int, int], *frames: bytes, background: bytes = bytes(4), flags: int = 0x02) -> bytes:
    """An animated WebP; `background` is blue, green, red, alpha."""
    return riff(webp_header(size, flags), webp_chunk(b"ANIM", background + b"\0\0"), *frames)


def swapped_profile() -> bytes:
    """sRGB with the names of its red and blue primaries exchanged: red in is blue out."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    table_end = 132 + 12 * struct.unpack_from(">I", profile, 128)[0]
    table = profile[:table_end].replace(b"rXYZ", b"tmp_").replace(b"bXYZ", b"rXYZ").replace(b"tmp_", b"bXYZ")
    return table + profile[table_end:]
