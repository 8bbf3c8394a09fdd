"""A private folder for the sockets and shared settings of the model processes of one server.

Every process of a server finds the same folder by itself, from the server's process id, so that an unchanged copy of
the model repository needs no setting, and several servers on one machine do not meet. Its name holds what makes a
process id unique: the user, the namespace of process ids (containers may share /tmp) and when the process started.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from pathlib import Path

from imagegen.file_names import temporary_folder
from imagegen.triton.shared_settings import SUFFIX

_PREFIX = "imagegen-run"
_NAME = re.compile(rf"{_PREFIX}-(\d+)-(\d+)-(\d+)-(\d+)")
_LONGEST_PATH = 80  # a socket's path in it is 26 longer, and has at most 107 bytes on Linux


def enter_run_folder(server_pid: int) -> Path:
    """The folder of the server with this process id, made if it is missing; mode 0700.

    Raises:
        RuntimeError: something else has its name, or others may enter it.
    """
    remove_stale_run_folders()
    folder = run_folder(server_pid)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()  # of a link itself: in /tmp anybody may put one
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise RuntimeError(f"{folder} is not a folder of this user alone; remove it")
    return folder


def run_folder(server_pid: int) -> Path:
    """Where the folder of the server with this process id is, if it has one."""
    return _parent() / _name(server_pid)


def leave_run_folder(folder: Path) -> None:
    """Remove the folder once the last process has removed its sockets; what models shared there goes with it."""
    with contextlib.suppress(OSError):
        left = list(folder.iterdir())
        if all(path.name.endswith(SUFFIX) for path in left):
            for path in left:
                path.unlink(missing_ok=True)
            folder.rmdir()


def remove_stale_run_folders() -> None:
    """Remove the folders of this user's servers that have ended without doing it themselves."""
    for folder in _parent().glob(_PREFIX + "-*"):
        match = _NAME.fullmatch(folder.name)
        if match and (int(match[1]), int(match[2])) == _owner() and _started(int(match[3])) != match[4]:
            shutil.rmtree(folder, ignore_errors=True)


def _parent() -> Path:
    temporary = temporary_folder()
    return temporary if len(os.fsencode(temporary)) + len(_name(os.getpid())) <= _LONGEST_PATH else Path("/tmp")


def _name(pid: int) -> str:
    user, namespace = _owner()
    return f"{_PREFIX}-{user}-{namespace}-{pid}-{_started(pid)}"


def _owner() -> tuple[int, int]:
    """User and namespace of process ids, in which alone it can be seen whether the process of a folder still runs."""
    return os.getuid(), os.stat("/proc/self/ns/pid").st_ino


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]  # behind the program's name, which may hold spaces
