"""Whether the pixel data of a PNG are all there: Pillow takes a complete zlib stream of too few rows for an image.

Names and numbers are those of the PNG specification (https://www.w3.org/TR/png-3/).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

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


def has_all_rows(data: bytes) -> bool:
    """Whether the pixel data of a PNG are as long as its header demands; Pillow leaves rows that are missing black.

    Args:
        data: a file whose chunks and size are checked: the time it takes grows with the size in its header.
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


def _pixel_data(data: bytes) -> Iterator[bytes]:
    """The IDAT chunks in small pieces: what zlib has not yet used of a piece it copies each time."""
    at = 8
    while (kind := data[at + 4 : at + 8]) and kind != b"IEND":
        start, end = at + 8, at + 8 + int.from_bytes(data[at : at + 4], "big")
        if kind == b"IDAT":
            for begin in range(start, end, _INPUT_PIECE):
                yield data[begin : min(begin + _INPUT_PIECE, end)]
        at = end + 4


def _pixel_bytes(data: bytes) -> int:
    """How long the inflated pixel data are to be: a filter byte and whole bytes of samples for each row."""
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    bits = data[24] * _CHANNELS[data[25]]
    if not data[28]:
        return height * (1 + (width * bits + 7) // 8)
    total = 0
    for x, y, step_x, step_y in _ADAM7:
        columns, rows = -(-(width - x) // step_x), -(-(height - y) // step_y)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total
