"""PNG with one filter an image and ISA-L's deflate: many times as fast as Pillow, and about as small.

Pillow tries five filters on every row, even at level 0, which is half of its time. Here one filter serves the whole
image: each byte less the same channel of its neighbour, the one to the left (Sub) or the one above (Up). Both are one
subtraction in numpy. Sub alone gives files up to a third larger than Pillow's at level 1 where an image is smoother
downwards than sideways, Up alone where it is the other way round; the better of the two stays within a tenth.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # channels: colour type of the PNG specification, table 11.1
_SUB, _UP = 1, 2  # filter types of the PNG specification, table 9.1
_LEVEL = 1  # of ISA-L's 0..3: 2 and 3 give at most 2 % in size, 0 is far larger
_EVERY = 16  # of the rows that are looked at to choose the filter


def write_png(frame: npt.NDArray[np.uint8], texts: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """Encode one frame, losslessly.

    Args:
        frame: uint8 [H, W, C], 1 or more pixels; C is 1 (grey), 3 (RGB) or 4 (RGBA).
        texts: further chunks, each type and content, written before the pixels.
    """
    height, width, channels = frame.shape
    rows = np.empty((height, 1 + width * channels), np.uint8)
    filtered = rows[:, 1:].reshape(height, width, channels)
    if _is_smoother_downwards(frame):
        rows[:, 0] = _UP
        filtered[0] = frame[0]
        np.subtract(frame[1:], frame[:-1], out=filtered[1:])  # modulo 256, as the filters are defined
    else:
        rows[:, 0] = _SUB
        filtered[:, 0] = frame[:, 0]
        np.subtract(frame[:, 1:], frame[:, :-1], out=filtered[:, 1:])
    header = struct.pack(">2I5B", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    pixels = isal_zlib.compress(rows, _LEVEL)
    chunks = [(b"IHDR", header), *texts, (b"IDAT", pixels), (b"IEND", b"")]
    return _SIGNATURE + b"".join(part for kind, content in chunks for part in _chunk(kind, content))


def _is_smoother_downwards(frame: npt.NDArray[np.uint8]) -> bool:
    """Whether neighbours differ less from row to row than within a row, going by some of the rows."""
    below, above = frame[1::_EVERY], frame[:-1:_EVERY]
    return _size(below - above) < _size(below[:, 1:] - below[:, :-1])


def _size(differences: npt.NDArray[np.uint8]) -> int:
    """The sum of differences modulo 256, each as the number nearest to 0 that it stands for."""
    return int(np.minimum(differences, -differences).sum(dtype=np.int64))


def _chunk(kind: bytes, content: bytes) -> tuple[bytes, ...]:
    checksum = isal_zlib.crc32(content, isal_zlib.crc32(kind))
    return len(content).to_bytes(4, "big"), kind, content, checksum.to_bytes(4, "big")
