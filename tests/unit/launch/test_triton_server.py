"""How a server is started, watched and ended, with a program that does as a tritonserver does, but quickly."""

from __future__ import annotations

import shutil
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from imagegen.launch import triton_server
from imagegen.launch.child_process import ServerError
from imagegen.launch.ports import free_port
from imagegen.launch.triton_server import TritonServer
from imagegen.triton.run_folder import run_folder

# Starts the model process, as the server does, and says that it is ready from when the file `ready` is there.
SERVE = """
import http.server, pathlib, subprocess, sys
folder, port = pathlib.Path(sys.argv[1]), int(sys.argv[2])
model = subprocess.Popen([folder / "triton_python_backend_stub", folder / "diffusion" / "1" / "model.py", "-f"])

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if (folder / "ready").exists() else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
FAIL = """
print("I1129 loading")
print("E1129 12:00:00 1 model.cc:1] failed to load 'diffusion' version 1: Internal: no such\\n  checkpoint")
raise SystemExit(1)
"""


class Fake(TritonServer):
    """A tritonserver of a few lines of Python, with one model process.

    Args:
        folder: for its log, its repository and its model process.
        code: what it runs.
    """

    def __init__(self, folder: Path, code: str = SERVE) -> None:
        (folder / "repository" / "alpha").mkdir(parents=True)
        (folder / "repository" / "alpha" / "config.pbtxt").write_text('name: "alpha"\nbackend: "python"\n')
        (folder / "diffusion" / "1").mkdir(parents=True)
        (folder / "diffusion" / "1" / "model.py").touch()
        shutil.copy(str(shutil.which("tail")), folder / "triton_python_backend_stub")
        super().__init__(
            folder / "repository",
            parameters={"alpha.side": "8"},
            drain_timeout_s=60.0,
            log_file=folder / "log",
            ready_timeout_s=60.0,
        )
        self.run_folder = Path()
        self._folder = folder
        self._code = code

    def _choose_ports(self) -> None:
        self.http_port = self.http_port or free_port("http", 0)

    def program(self, run_folder: Path) -> list[str]:
        self.run_folder = run_folder
        return [sys.executable, "-c", self._code, str(self._folder), str(self.http_port)]

    def environment(self) -> dict[str, str]:
        return {}

    def model_process(self) -> psutil.Process:
        """Its one model process, once there is one that `note_workers` has noted."""
        while not (pids := self.workers.pids("diffusion")):
            self.note_workers()
        return psutil.Process(pids[0])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Fake]:
    made = Fake(tmp_path)
    yield made
    made.kill()


@pytest.mark.parametrize(("word", "again"), [("off", "none"), ("false", "none"), ("aot", None), ("torch", None)])
def test_started_again_it_warms_up_only_what_is_compiled(server: Fake, word: str, again: str | None) -> None:
    (server._repository / "diffusion").mkdir()
    server._parameters = {"diffusion.compile": word}
    assert server._staged_parameters() == {"diffusion.compile": word}
    server._has_ever_been_ready = True
    assert server._staged_parameters().get("diffusion.warmup_sizes") == again


def test_it_is_not_ready_while_an_engine_is_lost(server: Fake, tmp_path: Path) -> None:
    (tmp_path / "ready").touch()
    with server:
        folder = run_folder(server.pid)
        folder.mkdir(mode=0o700)
        (folder / f"{server.pid}.alive").write_bytes(struct.pack("<d?", 0.0, False))
        assert not server.is_ready()
        (folder / f"{server.pid}.alive").write_bytes(struct.pack("<d?", time.monotonic(), False))
        assert server.is_ready()


def test_it_serves_a_staged_repository_and_leaves_nothing_behind(server: Fake, tmp_path: Path) -> None:
    (tmp_path / "ready").touch()
    with server:
        assert server.is_ready()
        assert server.owns(server.pid)
        assert 'key: "side"' in (server.run_folder / "repository" / "alpha" / "config.pbtxt").read_text()
        command = psutil.Process(server.pid).cmdline()
        assert f"--model-repository={server.run_folder}/repository" in command
        assert f"--backend-config=python,shm-region-prefix-name={server.shm_prefix}" in command
        model_process = server.model_process()
        (Path("/dev/shm") / f"{server.shm_prefix}left").touch()
    assert not model_process.is_running()
    assert not server.run_folder.exists()
    assert list(Path("/dev/shm").glob(f"{server.shm_prefix}*")) == []
    assert server.stop() is None


def test_nothing_of_it_is_left_when_its_drain_is_interrupted(server: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> bool:
        raise KeyboardInterrupt

    server.launch()
    model_process = server.model_process()
    monkeypatch.setattr(server, "_drain", interrupt)
    with pytest.raises(KeyboardInterrupt):
        server.stop()
    assert not model_process.is_running()
    assert not server.run_folder.exists()


def test_a_model_process_that_dies_once_it_was_ready_is_trouble_at_once(server: Fake, tmp_path: Path) -> None:
    server.launch()
    process = server.model_process()
    (tmp_path / "ready").touch()
    while not server.is_ready():
        pass
    assert server.trouble() is None
    process.kill()
    while process.status() != psutil.STATUS_ZOMBIE:
        pass
    assert server.trouble() == "the model process of diffusion died"


def test_readiness_that_nobody_has_seen_yet_counts_too(server: Fake, tmp_path: Path) -> None:
    server.launch()
    process = server.model_process()
    (tmp_path / "ready").touch()
    process.kill()
    while server.trouble() is None:
        pass
    assert server.trouble() == "the model process of diffusion died"


def test_one_that_dies_while_it_loads_is_left_to_the_server_for_a_while(
    server: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton then says why in its log and ends; killed at once, it could not."""
    server.launch()
    process = server.model_process()
    process.kill()
    while process.status() != psutil.STATUS_ZOMBIE:
        pass
    assert server.trouble() is None
    monkeypatch.setattr(triton_server, "_LAST_WORDS_S", 0.0)
    assert server.trouble() == "the model process of diffusion died"


def test_a_server_that_ends_is_trouble_and_its_reason_is_the_models_own_words(tmp_path: Path) -> None:
    server = Fake(tmp_path, FAIL)
    server.launch()
    while server.poll() is None:
        pass
    assert server.trouble() == "the server ended by itself with status 1"
    assert server.reason() == "model diffusion: Internal: no such checkpoint"
    server.kill()
    with (
        pytest.raises(ServerError, match="ended while starting: model diffusion: Internal: no such"),
        server,
    ):
        pass


def test_of_what_a_model_raised_its_trace_and_escapes_are_left_out(tmp_path: Path) -> None:
    """One line of a warm-up size had three source lines behind it."""
    server = Fake(tmp_path)
    raised = r"ValueError: parameter warmup_sizes: \"9x9\" is not allowed\n\nAt:\n  /x/limits.py(60): check_size\n"
    server.log_file.write_text(f"E1129 1 a.cc:1] failed to load 'diffusion' version 1: Internal: {raised}\"\n")
    said = 'model diffusion: Internal: ValueError: parameter warmup_sizes: "9x9" is not allowed'
    assert server.reason() == said


def test_without_a_model_to_blame_the_reason_is_the_last_errors(tmp_path: Path) -> None:
    server = Fake(tmp_path)
    server.log_file.write_text("I1129 [x] fine\nE1129 1 a.cc:1] port in use\nI1129 1 b.cc:1] bye\n")
    assert server.reason() == f"port in use (log: {server.log_file})"
    server.log_file.write_text("Segmentation fault\n")
    assert server.reason() == f"Segmentation fault (log: {server.log_file})"


def test_one_that_does_not_respond_for_long_hangs(server: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    server.launch()
    assert not server.hangs()
    monkeypatch.setattr(triton_server, "_LIVE_TIMEOUT_S", 0.0)
    server.kill()
    assert server.hangs()
