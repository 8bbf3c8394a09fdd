"""The Dockerfile is well made and fits the project; that it builds, ./build.sh image --stand-in shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import tomllib

from deploy.production_packages import production_packages

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
LOCKED = {line.split("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line}


def _instructions() -> list[tuple[str, str]]:
    """`(instruction, rest)`, with continued lines joined."""
    text = re.sub(r"\\\n(#.*\n)*", " ", DOCKERFILE.read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split()[0], " ".join(line.split()[1:])) for line in lines]


def _all(instruction: str) -> list[str]:
    return [rest for name, rest in _instructions() if name == instruction]


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    linted = subprocess.run([hadolint, "--no-color", DOCKERFILE], capture_output=True, text=True, timeout=60)
    assert (linted.returncode, linted.stdout) == (0, "")


def test_pytorch_is_that_of_the_project_and_has_a_layer_of_its_own() -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (torch,) = (dependency for dependency in dependencies if dependency.startswith("torch=="))
    assert f"TORCH={torch}" in _all("ARG")
    installing = [run for run in _all("RUN") if "pip" in run]
    assert installing[0].endswith('"${TORCH}"')
    assert "-r" not in installing[0]


def test_packages_are_the_locks_and_nothing_is_compiled() -> None:
    for run in _all("RUN"):
        assert "apt" not in run
        if "install --no-cache-dir" in run:
            assert "--only-binary=:all:" in run
            assert "-c /opt/imagegen/requirements.lock" in run


def test_only_what_production_needs_is_installed() -> None:
    packages = production_packages(ROOT / "pyproject.toml")
    names = {re.split(r"[=\[]", package)[0] for package in packages}
    assert names <= LOCKED
    assert {"diffusers", "fastapi", "s3fs", "tritonclient"} <= names
    assert not names & {"pytest", "locust", "mypy", "torch"}


def test_it_does_not_run_as_root() -> None:
    assert _all("USER") == ["1000:1000"]
    assert not [rest for rest in _all("COPY") if "--chown" in rest]  # so what it runs cannot be changed by it


def test_health_labels_and_command() -> None:
    assert _all("HEALTHCHECK")[0].endswith('CMD ["python3", "-m", "imagegen.launch.ready"]')
    assert _all("CMD") == ['["python3", "-m", "imagegen.launch.supervise"]']
    (labels,) = _all("LABEL")
    for name in ("title", "description", "licenses", "version", "revision", "created", "base.name"):
        assert f"org.opencontainers.image.{name}=" in labels


def test_what_is_copied_is_there_and_not_ignored() -> None:
    wanted = [
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    ]
    for copied in _all("COPY"):
        for source in copied.split()[:-1]:
            assert (ROOT / source).exists()
            assert source in wanted or f"{source}/*.py" in wanted or f"{Path(source).parent}/*.py" in wanted
