"""Limits on the parts of a JPEG file: each scan makes the decoder pass over the whole image again.

An ordinary progressive JPEG has about ten. A scan takes as little as 55 bytes, and 400 of them nearly a minute.
Pillow reads the segments in front of the first scan one by one.
"""

from __future__ import annotations

import re

from imagegen.images.input.errors import TooLarge

MAX_SCANS = 100
MAX_SEGMENTS = 10_000

_START_OF_SCAN = b"\xff\xda"
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_END_OF_IMAGE = 0xD9
_WITHOUT_LENGTH = range(0xD0, 0xDA)  # restarts, start and end of the image; those below 0xC0 have none either


def check_scans(data: bytes) -> None:
    """Refuse a JPEG of too many scans.

    Raises:
        TooLarge: its first image has more than `MAX_SCANS`, or so many segments that it is no real file.
    """
    few = data.count(_START_OF_SCAN) <= MAX_SCANS  # all bytes that could begin one: fast, and true of nearly all files
    # Phones append whole films to images, in which these bytes turn up by chance: count those in the image.
    scans = segments = at = 0
    while (found := _MARKER.search(data, at)) is not None:
        if not scans:
            segments += 1 + found.start() - at  # Pillow also takes long over padding
        marker, at = data[found.start() + 1], found.end()
        if marker == _END_OF_IMAGE and scans:
            return
        if marker >= 0xC0 and marker not in _WITHOUT_LENGTH:
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
            segments += scans > 0  # not restarts, which are common inside of scans
        scans += marker == _START_OF_SCAN[1]
        if scans and few:
            return
        if scans > MAX_SCANS:
            raise TooLarge(f"has more than {MAX_SCANS} JPEG scans")
        if segments > MAX_SEGMENTS:
            raise TooLarge(f"has more than {MAX_SEGMENTS} JPEG segments")
