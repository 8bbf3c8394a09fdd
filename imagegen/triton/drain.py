"""How a server is drained: who ends it asks its models to refuse what is new, and waits for what they owe.

Triton alone does not do it: on TERM release 24.10 takes new gRPC requests for a while, then refuses the next step of
ensembles that are under way. So whoever starts the server leaves a mark in its run folder, which `image_preprocess`,
the first step of every public request, heeds; and every model process shows there how many requests are open.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
from pathlib import Path

_MARK = "draining"
_SUFFIX = ".open"
_COUNT = struct.Struct("<q")


class OpenRequests:
    """How many requests this process has taken and owes a response. Safe from any thread.

    To change it costs less than a microsecond: the number lies in memory that is shared with whoever reads the file.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._path: Path | None = None
        self._shown: mmap.mmap | None = None

    def show(self, folder: Path) -> None:
        """Show the number in a run folder from now on."""
        self._path = folder / f"{os.getpid()}{_SUFFIX}"
        with self._path.open("w+b") as file:
            file.write(_COUNT.pack(self._count))
            file.flush()
            self._shown = mmap.mmap(file.fileno(), _COUNT.size)

    def change(self, by: int) -> None:
        """`by` more are open, or fewer."""
        with self._lock:
            self._count += by
            if self._shown is not None:
                _COUNT.pack_into(self._shown, 0, self._count)

    def hide(self) -> None:
        """Remove what `show` made."""
        with self._lock:
            if self._shown is not None and self._path is not None:
                self._shown.close()
                self._shown = None
                self._path.unlink(missing_ok=True)


def begin_drain(folder: Path) -> None:
    """Have the server of a run folder refuse new requests from now on."""
    (folder / _MARK).touch()


def is_draining(folder: Path) -> bool:
    """Whether new requests are to be refused."""
    return (folder / _MARK).exists()


def open_requests(folder: Path) -> int:
    """Requests that the processes of a server owe a response; one that passes through several may count more than once.

    Those of processes that have died do not count.
    """
    total = 0
    for path in folder.glob("*" + _SUFFIX):
        if Path("/proc", path.stem).exists():
            try:
                total += _COUNT.unpack(path.read_bytes())[0]
            except (OSError, struct.error):  # its process is just starting or ending
                continue
    return total
