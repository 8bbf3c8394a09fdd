"""A process that is started, heard to its last word, and told apart by how it ended."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from imagegen.engine.worker.messages import Closed, Left, frames_of, message_from_worker
from imagegen.engine.worker.worker_process import WorkerProcess

SAYS_MUCH = """
import os, signal, sys
from pathlib import Path
from imagegen.engine.worker.connection import Connection
from imagegen.engine.worker.messages import Left, frames_of
connection = Connection.worker(Path(sys.argv[1]))
for number in range(500):
    connection.send(frames_of(Left(number), b"x" * 5000))
connection.close(5000)
"""


@pytest.fixture
def module(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the process runs, to be written."""
    monkeypatch.syspath_prepend(str(folder))
    return folder / "worker_of_a_test.py"


@pytest.mark.parametrize(
    ("last_line", "reason"),
    [
        ("", "closed"),
        ("os._exit(70)", "device"),
        ("os._exit(3)", "failed"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crashed"),
    ],
)
def test_it_is_heard_to_its_last_word_and_how_it_ended_is_told(
    module: Path, folder: Path, last_line: str, reason: str
) -> None:
    module.write_text(SAYS_MUCH + last_line)
    process = WorkerProcess(folder, module.stem)
    (folder / f"{process._base.name}.1.asked").touch()  # of a rank, which cannot remove it when it is killed
    heard = [message_from_worker(frames[0]) for frames in process.messages() if frames]
    assert heard == [Left(number) for number in range(500)]
    assert process.close() == reason
    assert [file.suffix for file in folder.iterdir() if file.suffix in (".asked", ".told")] == []


def test_killed_from_outside_the_reason_is_the_killers(module: Path, folder: Path) -> None:
    module.write_text("import time\ntime.sleep(60)")
    process = WorkerProcess(folder, module.stem)
    process.send(frames_of(Closed()))
    for frames in process.messages():
        assert not frames
        process.kill("hang")
    assert process.close() == "hang"


def test_closed_while_it_runs_it_is_ended(module: Path, folder: Path) -> None:
    module.write_text("import time\ntime.sleep(60)")
    process = WorkerProcess(folder, module.stem)
    assert process.close() == "killed"


def test_inside_another_program_the_installations_interpreter_is_taken(
    module: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module.write_text("import sys; assert 'triton' not in sys.executable")
    monkeypatch.setattr(sys, "executable", "/opt/triton_python_backend_stub")
    process = WorkerProcess(folder, module.stem)
    assert list(filter(None, process.messages())) == []
    assert process.close() == "closed"
