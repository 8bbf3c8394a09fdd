"""The embedded server's program, and the error where it is missing; tests/service/test_embedded_server.py runs it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from imagegen.launch.child_process import ServerError
from imagegen.launch.embedded_server import EmbeddedServer


def test_it_listens_on_loopback_alone_with_a_stub_of_its_own(tmp_path: Path) -> None:
    program, *options = EmbeddedServer(tmp_path, http_port=1, grpc_port=2, metrics_port=3).program(tmp_path)
    assert Path(program).name == "tritonserver"
    assert {f"--{name}-address=127.0.0.1" for name in ("http", "grpc", "metrics")} < set(options)
    stub = tmp_path / "backends" / "python" / "triton_python_backend_stub"
    assert stub.stat().st_mode & 0o111


def test_its_python_is_the_running_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/mine")
    environment = EmbeddedServer(tmp_path).environment()
    assert environment["PATH"].split(":")[0] == str(Path(sys.executable).parent)
    assert environment["LD_LIBRARY_PATH"].endswith(":/mine")


def test_an_environment_in_an_odd_folder_gets_a_plain_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The python backend hands its paths to a shell, and torch cannot be imported from a folder it cannot decode."""
    prefix = tmp_path / "my é #%"
    (prefix / "bin").mkdir(parents=True)
    monkeypatch.setattr(sys, "prefix", str(prefix))
    monkeypatch.setattr(sys, "executable", str(prefix / "bin" / "python"))
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    server = EmbeddedServer(tmp_path)
    server.program(run_folder)
    folder = server.environment()["PATH"].split(":")[0]
    assert folder == str(run_folder / "environment" / "bin")
    assert Path(folder).samefile(prefix / "bin")


def test_without_the_package_that_carries_it_its_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ServerError, match=r"imagegen-triton\[serve\] has it"):
        EmbeddedServer(tmp_path).program(tmp_path)


class Aborting(EmbeddedServer):
    """A program in the place of tritonserver that aborts the first times that it is started."""

    def __init__(self, folder: Path, aborts: int) -> None:
        super().__init__(folder)
        self.left = aborts
        self.starts = 0

    def program(self, run_folder: Path) -> list[str]:
        self.starts += 1
        end = "os.abort()" if self.starts <= self.left else "sys.exit(3)"
        return [sys.executable, "-c", f"import os, sys; print('begun', flush=True); {end}"]


@pytest.mark.parametrize(("aborts", "starts"), [(0, 1), (1, 2), (9, 3)])
def test_one_that_aborts_while_it_starts_is_started_again_twice(tmp_path: Path, aborts: int, starts: int) -> None:
    """Release 24.10 does so on a busy machine; what ends with a status has a reason, which would be the same again."""
    server = Aborting(tmp_path, aborts)
    with pytest.raises(ServerError, match="tritonserver ended while starting: begun"):
        server.__enter__()
    assert server.starts == starts
    assert server.log_file.read_text().count("begun") == starts
