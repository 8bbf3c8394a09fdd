"""OpenCV, imported when it is first needed: no server pays its memory whose requests bring finished control images."""

from __future__ import annotations

import functools
from typing import Any


@functools.cache
def opencv() -> Any:
    """The module `cv2`, which works on the calling thread alone: requests run on threads of their own already."""
    import cv2

    cv2.setNumThreads(1)
    return cv2
