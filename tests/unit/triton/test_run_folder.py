"""Each server has a folder of its own, which is private and does not outlive it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagegen.triton.run_folder import enter_run_folder, leave_run_folder, remove_stale_run_folders


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder of a usual length, made after `tmp_path`, which lies in the real one."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def test_the_processes_of_a_server_find_the_same_private_folder(temporary: Path) -> None:
    folder = enter_run_folder(os.getpid())
    assert enter_run_folder(os.getpid()) == folder
    assert folder.parent == temporary
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_two_servers_have_two_folders() -> None:
    assert enter_run_folder(os.getpid()) != enter_run_folder(os.getppid())


def test_the_last_who_leaves_removes_it() -> None:
    folder = enter_run_folder(os.getpid())
    (folder / "somebody.events").touch()
    leave_run_folder(folder)
    assert folder.exists()
    (folder / "somebody.events").unlink()
    leave_run_folder(folder)
    assert not folder.exists()
    leave_run_folder(folder)  # of no effect


def test_what_a_dead_server_left_is_removed_and_what_is_not_ours_stays(temporary: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    dead = enter_run_folder(process.pid)
    (dead / "left.events").touch()
    process.communicate()
    alive = enter_run_folder(os.getpid())
    others = [temporary / "imagegen-run-notes", temporary / dead.name.replace(f"-{os.getuid()}-", "-999999-", 1)]
    for other in others:
        other.mkdir()
    remove_stale_run_folders()
    assert not dead.exists()
    assert alive.exists()
    assert all(other.exists() for other in others)


def test_a_process_id_that_is_used_again_does_not_inherit_the_folder() -> None:
    folder = enter_run_folder(os.getpid())
    earlier = folder.with_name(folder.name + "0")  # the same process id, started at another time
    folder.rename(earlier)
    assert enter_run_folder(os.getpid()) == folder
    assert not earlier.exists()


@pytest.mark.parametrize("kind", ["open to others", "a link", "a file"])
def test_a_folder_that_is_not_private_is_refused(kind: str, tmp_path: Path) -> None:
    folder = enter_run_folder(os.getpid())
    if kind == "open to others":
        folder.chmod(0o750)
    else:
        folder.rmdir()
        if kind == "a link":
            folder.symlink_to(tmp_path)
        else:
            folder.touch()
    with pytest.raises(RuntimeError, match="not a folder of this user alone"):
        enter_run_folder(os.getpid())


def test_a_long_temporary_folder_is_not_used_for_a_sockets_path_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = enter_run_folder(os.getpid())
    assert folder.parent == Path("/tmp")
    leave_run_folder(folder)
