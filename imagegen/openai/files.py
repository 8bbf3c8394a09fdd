"""Results in a local folder, by the keys that `image_postprocess` stores them under."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from pathlib import Path

from starlette.responses import FileResponse, Response

from imagegen.openai.errors import NotFound

# What object_key.py makes; nothing else in the folder is anybody's business, such as a file that is being written.
_KEY = re.compile(
    r"users/[A-Za-z0-9_-][A-Za-z0-9._-]{0,76}/generations/[A-Za-z0-9_-][A-Za-z0-9._-]{0,76}"
    r"/[0-9a-f]{32}\.(png|jpeg|webp)",
    re.ASCII,
)


class Files:
    """The images below one folder.

    Args:
        folder: the store's; None for none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    async def response(self, key: str) -> Response:
        """The image under `key`, with its content type; it never changes, so it may be cached for good.

        Raises:
            NotFound: there is none.
        """
        match = _KEY.fullmatch(key)
        if match is None or ".." in key or self._folder is None:
            raise _no_file()
        path = self._folder / key
        found = await asyncio.to_thread(_plain_file, path, self._folder)
        if found is None:
            raise _no_file()
        headers = {
            "Cache-Control": "private, max-age=31536000, immutable",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'",
        }
        return FileResponse(path, media_type=f"image/{match[1]}", headers=headers, stat_result=found)


def _plain_file(path: Path, folder: Path) -> os.stat_result | None:
    """What is known of the file at `path`; None where there is none, or only by way of a link out of `folder`."""
    try:
        found = path.lstat()
        inside = path.parent.resolve().is_relative_to(folder.resolve())
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) and inside else None


def _no_file() -> NotFound:
    return NotFound("there is no such file")
