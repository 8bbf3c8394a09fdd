"""A child process is waited for, says why it does not start, and leaves its log only when something went wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from imagegen.launch.child_process import HOST, ChildProcess, ServerError, responds
from imagegen.launch.ports import free_port

SERVE = """
import http.server, sys
print("serving", flush=True)
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind="127.0.0.1")
"""
END = "print('no disk left'); raise SystemExit(3)"


class Child(ChildProcess):
    """Runs a line of Python with a port."""

    def __init__(
        self, code: str, *, ready_timeout_s: float = 60.0, exit_timeout_s: float = 60.0, log_file: Path | None = None
    ) -> None:
        super().__init__("child", log_file=log_file, ready_timeout_s=ready_timeout_s, exit_timeout_s=exit_timeout_s)
        self._code = code
        self._port = free_port("child", 0)

    def _start(self) -> None:
        self._launch([sys.executable, "-c", self._code, str(self._port)], os.environ)

    @property
    def _ready_url(self) -> str:
        return f"http://{HOST}:{self._port}/"


def test_it_is_ready_inside_of_its_context_and_its_log_goes_with_it() -> None:
    with Child(SERVE) as child:
        assert child.is_ready()
        assert child.poll() is None
        assert child.log_file.read_text().startswith("serving")
    assert not child.log_file.exists()
    assert child.stop() is None


def test_a_log_that_was_asked_for_stays_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    child = Child(SERVE, log_file=tmp_path / "folder" / "log")
    for _ in range(2):
        with child:
            pass
    assert (tmp_path / "folder" / "log").read_text().count("serving") == 2


def test_one_that_ends_while_starting_says_why_and_leaves_its_log() -> None:
    child = Child(END)
    with pytest.raises(ServerError, match="child ended while starting: no disk left"), child:
        pass
    assert child.log_file.exists()


def test_one_that_is_not_ready_by_its_deadline_says_so() -> None:
    child = Child("import time; time.sleep(600)", ready_timeout_s=0.0)
    with pytest.raises(ServerError, match="child is not ready after 0 s"), child:
        pass
    assert child.stop() is None


def test_it_is_asked_to_end_and_killed_when_it_does_not_in_time() -> None:
    with Child(SERVE) as child:
        assert child.stop() == -signal.SIGTERM
    stubborn = Child("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVE, exit_timeout_s=0.1)
    with stubborn:
        assert stubborn.stop() == -signal.SIGKILL


def test_one_that_is_launched_is_asked_until_it_has_started() -> None:
    child = Child(SERVE)
    child.launch()
    try:
        while not child.has_started():
            pass
        assert child.is_ready()
    finally:
        child.stop()


def test_an_error_inside_of_the_context_keeps_the_log() -> None:
    child = Child(SERVE)
    with pytest.raises(ValueError, match="mine"), child:
        raise ValueError("mine")
    assert child.log_file.exists()


def test_a_response_without_status_200_and_none_at_all_are_not_ready() -> None:
    with Child(SERVE) as child:
        assert responds(child._ready_url)
        assert not responds(f"{child._ready_url}missing")
        url = child._ready_url
    assert not responds(url)


def test_it_ends_with_its_parent() -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from tests.unit.launch.test_child_process import Child, SERVE\n"
        "child = Child(SERVE); child.__enter__(); print(child.pid, flush=True); input()"
    )
    root = str(Path(__file__).resolve().parents[3])
    with subprocess.Popen([sys.executable, "-c", code, root], stdin=-1, stdout=-1, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
    while Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text():
        pass
    assert "python" not in _command(pid)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except FileNotFoundError:
        return ""
