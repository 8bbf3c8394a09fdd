"""Saves the image files that clients sent or pointed to, when a deployment is configured to keep them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from imagegen.file_names import shown


class InputStore:
    """A folder of image files, named by their content: what is sent twice is saved once. Safe from any thread.

    Args:
        folder: where they lie; made when it is missing.

    Raises:
        OSError: the folder cannot be made or written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass

    def save(self, data: bytes, format_name: str) -> str:
        """Write a file whole or not at all, and return its path.

        Args:
            data: the file as it came.
            format_name: PNG, JPEG or WEBP, as found in the file.

        Raises:
            OSError: it cannot be written.
        """
        path = self._folder / f"{hashlib.sha256(data).hexdigest()}.{format_name.lower()}"
        if not path.exists():
            handle, partial = tempfile.mkstemp(dir=self._folder, prefix=".")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                os.replace(partial, path)
            except BaseException:
                os.unlink(partial)
                raise
        return shown(path)
