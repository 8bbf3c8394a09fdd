"""Names of files with any characters, also where Triton takes few.

Its python backend hands the paths of its own program and of a model to a shell, unquoted, and starts its Python without
the locale, whatever the environment says (both seen on 24.10). In such a Python a name from a configuration, which is
text, is not the name that `open` takes, and libraries in Rust take no other than ASCII at all. Names that it finds
itself (`__file__`, a folder's entries) hold surrogates in the place of the rest.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PLAIN = re.compile(r"[a-zA-Z0-9._+/-]+")


def native(name: str) -> str:
    """The name of a file, as text of a configuration, in the form that this process opens it by."""
    return os.fsdecode(name.encode(errors="surrogateescape"))


def shown(name: str | os.PathLike[str]) -> str:
    """A file's name as text, for people and JSON: the opposite of `native`."""
    return os.fsencode(name).decode(errors="replace")


def is_plain(name: str | os.PathLike[str]) -> bool:
    """Whether a file's name has nothing but letters, digits and `._+-/`, so that a shell and all libraries take it."""
    return _PLAIN.fullmatch(os.fspath(name)) is not None


def temporary_folder() -> Path:
    """Where files for Triton go: the user's folder for temporary files where its name is plain, else /tmp."""
    folder = tempfile.gettempdir()
    return Path(folder if is_plain(folder) else "/tmp")


@contextmanager
def with_plain_name(folder: Path) -> Iterator[Path]:
    """The folder by a name that everything can open while the block runs: its own, or that of a link to it.

    Raises:
        OSError: a link is needed and cannot be made.
    """
    if is_plain(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="imagegen-link-", dir=temporary_folder()) as place:
        link = Path(place, "folder")
        link.symlink_to(folder.absolute(), target_is_directory=True)
        yield link
