"""The options fit the release, and every one says why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from imagegen.launch.triton_options import (
    ADMIN_KEY_VARIABLE,
    EMBEDDED_RELEASE,
    OPTIONS,
    PARAMETERS,
    installed_release,
    parse_release,
    triton_arguments,
    triton_environment,
)

ROOT = Path(__file__).resolve().parents[3]


def _arguments(release: tuple[int, int], **values: str) -> dict[str, str]:
    listed = triton_arguments(exit_timeout_s=30, release=release, **values)
    return {argument.partition("=")[0]: argument.partition("=")[2] for argument in listed}


def test_each_option_has_a_reason() -> None:
    assert [option.name for option in OPTIONS if not option.reason] == []


def test_a_release_gets_the_options_it_knows() -> None:
    old, new = _arguments(EMBEDDED_RELEASE), _arguments((26, 6))
    assert "--http-max-input-size" not in old
    assert "--http-max-input-size" in _arguments((25, 6))
    assert set(new) - set(old) == {"--http-max-input-size", "--allow-client-shm"}


def test_models_and_admin_apis_are_closed_on_every_release() -> None:
    for release in (EMBEDDED_RELEASE, (25, 6), (26, 6)):
        arguments = _arguments(release, admin_key="secret")
        assert arguments["--model-control-mode"] == "none"
        for option in ("--http-restricted-api", "--grpc-restricted-protocol"):
            assert arguments[option] == "model-repository,shared-memory,logging,trace:imagegen-admin-key=secret"


def test_without_a_key_nobody_can_guess_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ADMIN_KEY_VARIABLE, raising=False)
    first, second = (_arguments(EMBEDDED_RELEASE)["--http-restricted-api"] for _ in range(2))
    assert first != second
    monkeypatch.setenv(ADMIN_KEY_VARIABLE, "mine")
    assert _arguments(EMBEDDED_RELEASE)["--http-restricted-api"].endswith("=mine")


def test_wakers_leave_threads_to_others() -> None:
    (threads,) = (int(o.value.rpartition("=")[2]) for o in OPTIONS if o.value.startswith("python,thread-pool-size="))
    assert int(PARAMETERS["diffusion.waking_requests"]) < threads


def test_what_the_user_set_stays() -> None:
    assert triton_environment({"PYTHONUNBUFFERED": "0"})["PYTHONUNBUFFERED"] == "0"
    assert triton_environment({})["MALLOC_MMAP_THRESHOLD_"] == "131072"


def test_the_release_is_the_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NVIDIA_TRITON_SERVER_VERSION", raising=False)
    assert installed_release() == EMBEDDED_RELEASE
    monkeypatch.setenv("NVIDIA_TRITON_SERVER_VERSION", "26.06")
    assert installed_release() == (26, 6)


@pytest.mark.parametrize("text", ["", "26", "26.13", "26.x", "v26.06"])
def test_what_is_no_release_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a release"):
        parse_release(text)


def test_the_command_prints_an_argument_a_line() -> None:
    command = [
        sys.executable,
        "-m",
        "imagegen.launch.triton_options",
        "--release=26.06",
        "--exit-timeout-s=30",
        "--admin-key=k",
    ]
    printed = subprocess.check_output(command, cwd=ROOT, text=True)
    assert printed.splitlines() == triton_arguments(exit_timeout_s=30, release=(26, 6), admin_key="k")
