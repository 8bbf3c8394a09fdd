"""The folder of packages, which instances, processes and machines may share.

FOLDER/DIGEST OF THE FORWARD/torch-2.13.0-cpu-3f2a91c0.package      complete: it came here by a rename
                             torch-2.13.0-cpu-3f2a91c0.lock         held by whoever builds it
                             torch-2.13.0-cpu-3f2a91c0.building-*   what is being built, or was left there by a crash
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from imagegen.engine.compiled.package import PackageError, check_package
from imagegen.engine.compiled.package_key import PackageKey

_POLL_S = 0.5  # between two looks at whether another one has built it

_log = logging.getLogger(__name__)


class CacheFolder:
    """Packages by their keys. Safe from any thread and process.

    Args:
        folder: which is made when something is to be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, key: PackageKey) -> Path | None:
        """The file of a whole package; None where there is none, or a torn one, which the log says."""
        file = self._file(key)
        try:
            check_package(file, str(key))
        except PackageError as error:
            self._say_why(file, error)
            return None
        return file

    @contextmanager
    def turn(self, key: PackageKey, closed: Event) -> Iterator[Path]:
        """Be the only one that builds a package; wait for another one that does.

        Args:
            key: of the package.
            closed: ends the wait.

        Yields:
            a new folder, beside where the package goes, that is gone afterwards.

        Raises:
            OSError: the folder cannot be written to, or is full.
            InterruptedError: `closed` is set.
        """
        file = self._file(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            while not _locked(lock):
                if closed.wait(_POLL_S):
                    raise InterruptedError("the engine is closed")
            for left in file.parent.glob(f"{file.stem}.building-*"):  # by one that was killed
                shutil.rmtree(left, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=f"{file.stem}.building-", dir=file.parent) as building:
                yield Path(building)
        finally:
            os.close(lock)  # which frees it

    def keep(self, built: Path, key: PackageKey) -> Path:
        """Put a package that was built, in the folder of its turn, to its place. A torn one there is gone.

        Raises:
            PackageError: it is not whole.
            OSError: it cannot be put there.
        """
        check_package(built, str(key))
        file = self._file(key)
        os.replace(built, file)
        return file

    def _file(self, key: PackageKey) -> Path:
        return self._folder / key.forward / f"{key.environment}.package"

    def _say_why(self, file: Path, error: PackageError) -> None:
        """Why a package is not found, unless there simply is none."""
        try:
            there = os.listdir(file.parent)
        except OSError:
            return
        others = ", ".join(sorted(name.removesuffix(".package") for name in there if name.endswith(".package")))
        if file.name in there:
            _log.warning("the package %s is not used: %s", file, error)
        elif others:
            _log.warning("the package %s is not there, only for another torch, device or machine: %s", file, others)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
