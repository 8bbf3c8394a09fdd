"""Model processes are told from others by their program, and missed when they are gone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from imagegen.launch.workers import Workers

# Starts what its arguments name and does not wait for it, as the server: what dies stays a zombie.
PARENT = (
    "import subprocess, sys; kept = [subprocess.Popen(c.split()) for c in sys.argv[1:]]; print(flush=True); input()"
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[psutil.Process]:
    """With a model process and one of another kind."""
    stub = tmp_path / "triton_python_backend_stub"
    shutil.copy(str(shutil.which("tail")), stub)
    model = tmp_path / "repository" / "diffusion" / "1" / "model.py"
    model.parent.mkdir(parents=True)
    model.touch()
    command = [sys.executable, "-c", PARENT, f"{stub} {model} -f", "sleep 600"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        process = psutil.Process(parent.pid)
        yield process
        if parent.poll() is None:
            for child in process.children():
                child.kill()
            parent.kill()


def _stub(server: psutil.Process) -> psutil.Process:
    (stub,) = (child for child in server.children() if child.name().startswith("triton_python"))
    return stub


def test_only_model_processes_are_noted(server: psutil.Process) -> None:
    workers = Workers(server.pid)
    assert workers.pids("diffusion") == []
    workers.look()
    workers.look()
    assert workers.pids("diffusion") == [_stub(server).pid]
    assert workers.dead() == []


def test_one_that_dies_is_missed_though_it_stays_a_zombie(server: psutil.Process) -> None:
    workers = Workers(server.pid)
    workers.look()
    stub = _stub(server)
    stub.kill()
    while stub.status() != psutil.STATUS_ZOMBIE:
        pass
    assert workers.dead() == ["diffusion"]


def test_one_that_died_before_anybody_looked_is_missed_too(server: psutil.Process) -> None:
    """A zombie no longer tells its command, and so not whose it was."""
    stub = _stub(server)
    stub.kill()
    while stub.status() != psutil.STATUS_ZOMBIE:
        pass
    workers = Workers(server.pid)
    workers.look()
    assert workers.dead() == ["a model"]


def test_another_program_that_died_is_none_of_them(server: psutil.Process) -> None:
    other = next(child for child in server.children() if child.name() == "sleep")
    other.kill()
    while other.status() != psutil.STATUS_ZOMBIE:
        pass
    workers = Workers(server.pid)
    workers.look()
    assert workers.dead() == []


def test_a_server_that_has_ended_is_no_error(server: psutil.Process) -> None:
    workers = Workers(server.pid)
    children = server.children()
    server.kill()
    for child in children:
        child.kill()
    psutil.wait_procs([server], timeout=10)
    workers.look()
    assert workers.dead() == []
