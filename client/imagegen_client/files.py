"""Names and files for images that must not overwrite each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_SLUG_CHARACTERS = 48  # up to 4 bytes each: with seed and number well below the 255 bytes of most file systems


def slug(prompt: str) -> str:
    """`prompt` as the beginning of a file name: lower-case letters, digits and single hyphens."""
    words = re.sub(r"[\W_]+", "-", prompt.lower()).strip("-")
    return words[:_SLUG_CHARACTERS].rstrip("-") or "image"


def write_image(folder: Path, stem: str, extension: str, content: bytes, *, overwrite: bool = False) -> Path:
    """Write one new file and return its path.

    Args:
        folder: an existing folder.
        stem: name without extension; `-2`, `-3` … is appended while a file of that name exists.
        extension: without the dot.
        content: the bytes of the file.
        overwrite: write to the first name whether it exists or not.

    Raises:
        OSError: the file cannot be written.
    """
    if overwrite:
        path = folder / f"{stem}.{extension}"
        path.write_bytes(content)
        return path
    for path in _candidates(folder, stem, extension):
        try:
            file = path.open("xb")  # the system decides who was first, also between two processes
        except FileExistsError:
            continue
        with file:
            file.write(content)
        return path
    raise AssertionError("the candidates never end")


def _candidates(folder: Path, stem: str, extension: str) -> Iterator[Path]:
    yield folder / f"{stem}.{extension}"
    number = 2
    while True:
        yield folder / f"{stem}-{number}.{extension}"
        number += 1
