"""The segments of a JPEG file in front of its pixels: Pillow gets those that these need, whatever the others hold.

Names and numbers are those of ITU-T T.81 (the format), T.871 (JFIF) and T.872 (Adobe's segment); those of the metadata
are of EXIF 2.32, ICC.1:2022, Adobe's XMP specification (part 3) and CIPA DC-007 (several images in a file).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

from imagegen.images.input.parts import ImageParts

END_OF_IMAGE = b"\xff\xd9"
START_OF_SCAN = 0xDA

_START_OF_IMAGE = b"\xff\xd8"
_WITHOUT_LENGTH = {0x00, 0x01, *range(0xD0, 0xDA)}  # stuffing, private use, restarts, start and end of the image
_APP0, _APP1, _APP2, _APP14, _COMMENT = 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
_METADATA = {*range(0xE0, 0xF0), _COMMENT}
_JFIF_BYTES, _ADOBE_BYTES = 14, 12  # libjpeg takes no notice of shorter ones, which Pillow stops at
# Tables, a frame or a scan, with the first byte of a length that such a segment can have.
_FOUND_AGAIN = re.compile(rb"\xff[\xdb\xc0-\xc2\xc4\xdd\xda][\x00-\x08]", re.DOTALL)
_MOST_SEARCHES, _MOST_SEARCHED = 10, 100  # a search may go through the whole file
_NUMBER_OF_IMAGES = 0xB001


@dataclass
class _Metadata:
    exif: list[bytes] = field(default_factory=list)
    profile: list[bytes] = field(default_factory=list)
    xmp: bytes | None = None
    images: int = 1

    def add(self, marker: int, content: bytes) -> None:
        """Take in what is known of an APP1 or APP2 segment."""
        if marker == _APP1 and content.startswith(b"Exif\0\0"):
            self.exif.append(content[6:] if self.exif else content)  # long data go on in the next one
        elif marker == _APP1 and content.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            self.xmp = content.partition(b"\0")[2]
        elif marker == _APP2 and content.startswith(b"ICC_PROFILE\0") and len(content) > 14:
            self.profile.append(content)
        elif marker == _APP2 and content.startswith(b"MPF\0"):
            self.images = max(self.images, _number_of_images(content[4:]))

    def icc_profile(self) -> bytes | None:
        """The colour profile, joined in the order of its numbers; None when a part is missing."""
        parts = sorted(self.profile)
        if not parts or parts[0][13] != len(parts):
            return None
        return b"".join(part[14:] for part in parts)


def split_jpeg(data: bytes) -> ImageParts:
    """Take a JPEG apart that `jpeg_scans.check_scans` has passed.

    Raises:
        ValueError: no pixels come, or a segment that they need runs out of the file.
    """
    kept, metadata = [_START_OF_IMAGE], _Metadata()
    at, searches = len(_START_OF_IMAGE), 0
    while True:
        at = data.find(b"\xff", at)  # what lies between segments is skipped, as libjpeg does
        marker = data[at + 1] if 0 <= at < len(data) - 1 else None
        if marker is None:
            raise ValueError("no scan")
        if marker == 0xFF:  # padding
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker == START_OF_SCAN:
            break
        else:
            start, end = at + 4, at + 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
            if marker in _METADATA:
                metadata.add(marker, data[start:end])
                if _colours_need(marker, data[start:end]):
                    kept.append(data[at:end])
                at = end
                if data[end : end + 1] != b"\xff" and searches < _MOST_SEARCHES:
                    at, searches = _found_again(data, start, end), searches + 1
            else:
                kept.append(data[at:end])
                at = end
    file = b"".join([*kept, memoryview(data)[at:]])
    return ImageParts(
        file,
        frames=metadata.images,
        exif=b"".join(metadata.exif) or None,
        icc_profile=metadata.icc_profile(),
        xmp=metadata.xmp,
    )


def _colours_need(marker: int, content: bytes) -> bool:
    if marker == _APP0:
        return content.startswith(b"JFIF\0") and len(content) >= _JFIF_BYTES
    return marker == _APP14 and content.startswith(b"Adobe") and len(content) >= _ADOBE_BYTES


def _found_again(data: bytes, start: int, end: int) -> int:
    """Where to go on behind metadata that no segment follows at their `end`: their length is likely to be wrong.

    That is where the next segment begins that pixels need. Where an image begins before it, such as a thumbnail among
    the metadata, its segments would be taken for those of the image, and then the length is believed, as in libjpeg.
    """
    thumbnail = data.find(_START_OF_IMAGE, start)
    for tried, match in enumerate(_FOUND_AGAIN.finditer(data, start), start=1):
        at = match.start()
        if tried > _MOST_SEARCHED or 0 <= thumbnail < at:
            break
        following = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == START_OF_SCAN or data[following : following + 1] == b"\xff":
            return at
    return end


def _number_of_images(index: bytes) -> int:
    """How many images an MP index names, 1 when it is broken."""
    order = "<" if index.startswith(b"II") else ">"
    try:
        (directory,) = struct.unpack_from(order + "4xL", index)
        (entries,) = struct.unpack_from(order + "H", index, directory)
        for entry in range(min(entries, 100)):
            tag, _, _, value = struct.unpack_from(order + "HHLL", index, directory + 2 + 12 * entry)
            if tag == _NUMBER_OF_IMAGES:
                return int(value)
    except struct.error:
        pass
    return 1
