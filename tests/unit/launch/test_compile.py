"""`imagegen compile`: builds what a server will load, says what is there, and fails where something is not."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from checkpoint.random_checkpoint import make_checkpoint
from imagegen.engine.compiled import compiled_forward, package_builder
from imagegen.engine.compiled.build import Job
from imagegen.engine.compiled.package_builder import BuildError
from imagegen.launch.compile import main
from tests.unit.engine.compiled.toys import written

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    make_checkpoint(folder)
    return folder


class Eager:
    """A package that runs the module itself."""

    def __init__(self, file: Path, key: str, module: Any, device: object) -> None:
        self.most_rows = 16
        self._module = module

    def __call__(self, tensors: list[Any]) -> Any:
        encoder, sample, timestep = tensors
        return self._module(sample, timestep, encoder, return_dict=False)


def run(model: Path, folder: Path, *more: str) -> int:
    return main([str(model), "--cache", str(folder), "--sizes", "64x64", *more])


def test_it_builds_tries_and_names_the_packages(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    built: list[str] = []

    def build(job: Job, folder: Path, closed: threading.Event) -> Path:
        built.append(job.key)
        return written(folder / "package", job.key)

    monkeypatch.setattr(package_builder, "build_in_process", build)
    monkeypatch.setattr(compiled_forward, "Package", Eager)
    for _ in range(2):
        assert run(model, tmp_path) == 0
    assert len(built) == 1
    assert capsys.readouterr().out == f"{built[0]}: ready\n" * 2
    assert (tmp_path / f"{built[0]}.package").exists()


def test_what_cannot_be_built_is_its_status(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def fail(*_: object) -> Path:
        raise BuildError("no compiler")

    monkeypatch.setattr(package_builder, "build_in_process", fail)
    assert run(model, tmp_path) == 1
    assert capsys.readouterr().out.endswith(": failed\n")


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (("--dtype", "int8"), "compile: parameter dtype: 'int8' is not allowed"),
        (("--sizes", "none"), "compile: parameter compile: aot builds packages for warmup_sizes, which are none"),
        (("--sizes", "9x9"), 'compile: parameter warmup_sizes: invalid_argument: size: "9x9" is not allowed'),
    ],
)
def test_bad_options_are_named(
    model: Path, tmp_path: Path, more: tuple[str, ...], problem: str, capsys: Captured
) -> None:
    assert run(model, tmp_path, *more) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(problem)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path, capsys: Captured) -> None:
    assert run(tmp_path / "none", tmp_path) == 1
    assert f"{tmp_path / 'none'} is neither a folder that is there nor a hub id" in capsys.readouterr().err
