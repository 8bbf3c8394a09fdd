"""The wheels hold what runs in production, and both distributions are one release."""

from __future__ import annotations

import os
import subprocess
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest
import tomllib
from hatchling import build

import imagegen

ROOT = Path(__file__).resolve().parents[2]


def _wheel_files(project: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The files in the wheel of a project of this repository, without its metadata."""
    monkeypatch.chdir(project)
    name = build.build_wheel(os.fspath(into))
    assert name.split("-")[1] == imagegen.__version__
    with zipfile.ZipFile(into / name) as wheel:
        return {name for name in wheel.namelist() if ".dist-info/" not in name}


def _tracked(*folders: str) -> set[str]:
    """Files of the working tree that git does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders]
    listed = subprocess.check_output(command, cwd=ROOT, text=True).splitlines()
    return {name for name in listed if (ROOT / name).exists()}


def test_the_servers_wheel_is_the_package_and_the_model_repository_inside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {f"imagegen/{name}" for name in _tracked("model_repository")}
    assert "imagegen/model_repository/image_generation/1/.gitkeep" in models  # Triton wants the folder
    assert _wheel_files(ROOT, tmp_path, monkeypatch) == _tracked("imagegen") | models


def test_the_clients_wheel_is_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name.removeprefix("client/") for name in _tracked("client/imagegen_client")}
    assert _wheel_files(ROOT / "client", tmp_path, monkeypatch) == files


def test_both_distributions_are_one_release() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"imagegen-client=={imagegen.__version__}" in project["dependencies"]
    assert version("imagegen-triton") == version("imagegen-client") == imagegen.__version__


def test_hatchling_is_the_one_that_builds() -> None:
    for folder in (ROOT, ROOT / "client"):
        required = tomllib.loads((folder / "pyproject.toml").read_text())["build-system"]["requires"]
        assert required == [f"hatchling=={version('hatchling')}"]


@pytest.mark.parametrize("verb", ["serve", "demo", "supervise", "random-checkpoint"])
def test_a_verb_of_the_command_is_a_function_with_a_summary(verb: str) -> None:
    (command,) = entry_points(group="imagegen.commands", name=verb)
    summary, _, _ = (command.load().__doc__ or "").partition("\n")
    assert summary.endswith(".")
