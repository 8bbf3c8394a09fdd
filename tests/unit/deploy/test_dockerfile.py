"""The Dockerfile is well made and fits the project; `./build.sh image --stand-in` shows that it builds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import tomllib

from imagegen import __version__

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


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
    (torch,) = (dependency for dependency in PROJECT["dependencies"] if dependency.startswith("torch=="))
    assert f"TORCH={torch}" in _all("ARG")
    installing = [run for run in _all("RUN") if "pip" in run]
    assert installing[0].endswith('"${TORCH}"')
    assert "imagegen" not in installing[0].replace("/opt/imagegen/requirements.lock", "")


def test_packages_are_the_locks_and_nothing_is_compiled() -> None:
    for run in _all("RUN"):
        assert "apt" not in run
        if "install --no-cache-dir" in run:
            assert "--only-binary=:all:" in run
            assert "-c /opt/imagegen/requirements.lock" in run


def test_the_wheels_are_installed_by_their_files_with_extras_that_there_are() -> None:
    """By name an index could give another distribution that calls itself so."""
    (installing,) = (run for run in _all("RUN") if "imagegen_triton" in run)
    assert '"/opt/imagegen/imagegen_client-${VERSION}-py3-none-any.whl"' in installing
    found = re.search(r'"/opt/imagegen/imagegen_triton-\$\{VERSION\}-py3-none-any\.whl\[(.+)\]"', installing)
    assert found is not None
    assert set(found[1].split(",")) <= set(PROJECT["optional-dependencies"]) - {"dev", "docs", "serve"}


def test_no_production_code_lies_in_deploy() -> None:
    assert list((ROOT / "deploy").rglob("*.py")) == []


def test_it_does_not_run_as_root() -> None:
    assert _all("USER") == ["1000:1000"]
    assert not [rest for rest in _all("COPY") if "--chown" in rest]  # so what it runs cannot be changed by it


def test_health_labels_and_command() -> None:
    assert _all("HEALTHCHECK")[0].endswith('CMD ["python3", "-m", "imagegen.launch.ready"]')
    assert _all("CMD") == ['["imagegen", "supervise"]']
    (labels,) = _all("LABEL")
    for name in ("title", "description", "licenses", "version", "revision", "created", "base.name"):
        assert f"org.opencontainers.image.{name}=" in labels


def test_what_is_copied_is_built_or_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sent = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    copied = [source for copy in _all("COPY") for source in copy.split()[:-1]]
    assert len(copied) == 3
    for source in copied:
        name = source.replace("${VERSION}", __version__)
        assert any(Path(name).match(pattern) for pattern in sent)
        assert name.startswith("dist/") or (ROOT / name).exists()
