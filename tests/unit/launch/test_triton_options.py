"""The options fit the release, and every one says why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from imagegen.launch.child_process import ServerError
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.triton_options import (
    OPTIONS,
    PARAMETERS,
    known_options,
    triton_arguments,
    triton_environment,
)
from imagegen.triton.admin_key import ADMIN_KEY_VARIABLE

ROOT = Path(__file__).resolve().parents[3]


# As `tritonserver --help` prints them; the second server knows options that the first one does not.
HELP = """Usage: tritonserver [options]
  --help
	Print usage

Server:
  --exit-timeout-secs <integer>
	Timeout. --http-max-input-size is named here, which makes it no option.
  --strict-readiness <boolean>
"""
NEWER = (
    HELP
    + """  --http-max-input-size <integer>
	Maximum allowed HTTP request input size in bytes.
  --allow-client-shm <boolean>
"""
)
OLD, NEW = frozenset({"exit-timeout-secs"}), frozenset({"http-max-input-size", "allow-client-shm"})


def _arguments(known: frozenset[str], **values: str) -> dict[str, str]:
    listed = triton_arguments(exit_timeout_s=30, known=known, **values)
    return {argument.partition("=")[0]: argument.partition("=")[2] for argument in listed}


def server(folder: Path, printed: str, status: int = 1) -> str:
    """A program that prints its help as tritonserver does."""
    program = folder / "tritonserver"
    program.write_text(f'#!{sys.executable}\nimport sys\nassert sys.argv[1:] == ["--help"]\n')
    with program.open("a") as file:
        file.write(f"print({printed!r}, file=sys.stderr)\nsys.exit({status})\n")
    program.chmod(0o755)
    return str(program)


def test_each_option_has_a_reason() -> None:
    assert [option.name for option in OPTIONS if not option.reason] == []


def test_a_server_is_asked_which_options_it_knows(tmp_path: Path) -> None:
    assert known_options(server(tmp_path, HELP), {}) == {"help", "exit-timeout-secs", "strict-readiness"}
    newer = known_options(server(tmp_path, NEWER, status=0), {})
    assert {"http-max-input-size", "allow-client-shm"} <= newer


def test_the_embedded_server_knows_all_that_has_to_be_known(tmp_path: Path) -> None:
    embedded = EmbeddedServer(tmp_path)
    known = known_options(embedded.program(tmp_path)[0], triton_environment(embedded.environment()))
    assert {option.name for option in OPTIONS if not option.if_known} <= known


@pytest.mark.parametrize("program", ["/no/such/program", str(ROOT)])
def test_a_program_that_cannot_be_asked_is_an_error(program: str) -> None:
    with pytest.raises(ServerError, match=f"{program} does not say which options it has"):
        known_options(program, {})


def test_a_server_gets_the_options_it_knows() -> None:
    assert set(_arguments(NEW)) - set(_arguments(OLD)) == {"--http-max-input-size", "--allow-client-shm"}
    assert _arguments(NEW)["--allow-client-shm"] == "false"


def test_what_protects_the_server_is_given_to_every_server() -> None:
    """One that does not know it refuses to start, and says so: it is not left unprotected."""
    for known in (frozenset[str](), OLD, NEW):
        arguments = _arguments(known, admin_key="secret")
        assert arguments["--model-control-mode"] == "none"
        for option in ("--http-restricted-api", "--grpc-restricted-protocol"):
            assert arguments[option] == "model-repository,shared-memory,logging,trace:imagegen-admin-key=secret"


def test_without_a_key_nobody_can_guess_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ADMIN_KEY_VARIABLE, raising=False)
    first, second = (_arguments(OLD)["--http-restricted-api"] for _ in range(2))
    assert first != second
    monkeypatch.setenv(ADMIN_KEY_VARIABLE, "mine")
    assert _arguments(OLD)["--http-restricted-api"].endswith("=mine")


def test_wakers_leave_threads_to_others() -> None:
    (threads,) = (int(o.value.rpartition("=")[2]) for o in OPTIONS if o.value.startswith("python,thread-pool-size="))
    assert int(PARAMETERS["diffusion.waking_requests"]) < threads


def test_what_the_user_set_stays() -> None:
    assert triton_environment({"PYTHONUNBUFFERED": "0"})["PYTHONUNBUFFERED"] == "0"
    assert triton_environment({})["MALLOC_MMAP_THRESHOLD_"] == "131072"


def test_the_command_prints_an_argument_a_line(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "imagegen.launch.triton_options"),
        *(f"--tritonserver={server(tmp_path, NEWER)}", "--exit-timeout-s=30", "--admin-key=k"),
    ]
    printed = subprocess.check_output(command, cwd=ROOT, text=True)
    assert printed.splitlines() == triton_arguments(exit_timeout_s=30, known=NEW, admin_key="k")
