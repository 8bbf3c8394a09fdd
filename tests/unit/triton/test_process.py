"""A model process enters the run folder of its server, and ends when the server does."""

from __future__ import annotations

import logging
import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from imagegen.triton import process
from imagegen.triton.drain import open_requests
from imagegen.triton.run_folder import run_folder

TIMEOUT_S = 30


def test_it_shows_its_open_requests_until_it_ends(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(logging, "basicConfig", lambda **options: None)
    entered = process.start_process()
    assert entered == run_folder(os.getppid())
    assert [path.name for path in entered.iterdir()] == [f"{os.getpid()}.open"]
    before = open_requests(entered)
    process.OPEN_REQUESTS.change(+1)
    assert open_requests(entered) == before + 1
    process.OPEN_REQUESTS.change(-1)
    process.end_process(entered)
    assert not entered.exists()


_MODEL = "from imagegen.triton.process import start_process; start_process(); print(flush=True); input()"
_SERVER = f"""
import subprocess, sys
model = subprocess.Popen([sys.executable, "-c", {_MODEL!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
model.stdout.readline()
print(model.pid, flush=True)
input()
"""


def test_it_ends_with_its_server(folder: Path) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen([sys.executable, "-c", _SERVER], env=environment, **pipes) as server:  # type: ignore[call-overload]
        model = os.pidfd_open(int(server.stdout.readline()))
        server.kill()
        ended, _, _ = select.select([model], [], [], TIMEOUT_S)
        os.close(model)
    assert ended
