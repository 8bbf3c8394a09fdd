"""Where what is made on this machine is kept for later starts, unless a folder is configured."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache_folder(name: str) -> Path:
    """`imagegen/NAME` in the user's folder for caches, by the XDG base directory specification."""
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(caches).expanduser() / "imagegen" / name
