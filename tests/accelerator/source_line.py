"""Which line of our code, of diffusers or of transformers caused what happens on the device."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]
_LIBRARIES = ("diffusers", "transformers")
_PACKAGES = "site-packages"
UNKNOWN = "elsewhere"


def source_line() -> str:
    """The innermost line that counts, such as `imagegen/engine/collate.py:12` or `diffusers/.../file.py:34`."""
    frame = sys._getframe(1)
    while frame is not None:
        name = _counts(frame.f_code.co_filename)
        if name is not None:
            return f"{name}:{frame.f_lineno}"
        if frame.f_back is None:
            break
        frame = frame.f_back
    return UNKNOWN


@cache
def _counts(file: str) -> str | None:
    """How a file is called in a report; None for one that is passed over, such as torch's and those of this package."""
    path = Path(file)
    if _PACKAGES in path.parts:
        inside = path.parts[len(path.parts) - 1 - path.parts[::-1].index(_PACKAGES) + 1 :]
        return "/".join(inside) if inside[0] in _LIBRARIES else None
    if path.is_relative_to(_ROOT) and path.parent != _HERE:
        return path.relative_to(_ROOT).as_posix()
    return None
