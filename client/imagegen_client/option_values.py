"""What the texts of the command line's options stand for."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from imagegen_client.arguments import Image

_SCALE = re.compile(r"(?s)(.+):([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))", re.ASCII)  # the name may have colons of its own


def image(text: str) -> Image:
    """The image that a value of `--image` or another option of images stands for: a file, a URL, or standard input."""
    if text == "-":
        return sys.stdin.buffer.read()
    return text if text.startswith(("http://", "https://", "data:")) else Path(text)


def name_and_scale(text: str) -> tuple[str, float]:
    """Name and scale of a value of `--lora`; only a number behind the last colon is a scale, which is else 1."""
    match = _SCALE.fullmatch(text)
    return (match[1], float(match[2])) if match else (text, 1.0)
