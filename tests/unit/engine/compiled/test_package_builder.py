"""Packages are built one after the other, at most once each, and what fails is only said."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imagegen.engine.compiled import package_builder
from imagegen.engine.compiled.build import PROBLEM, Job
from imagegen.engine.compiled.cache_folder import CacheFolder
from imagegen.engine.compiled.package_builder import BuildError, PackageBuilder, build_in_process
from imagegen.engine.compiled.package_key import PackageKey
from imagegen.engine.worker import worker_process
from tests.unit.engine.compiled.toys import a_job, written

KEY = PackageKey("forward", "torch-1")


class Done:
    """Waits for what the builder says."""

    def __init__(self) -> None:
        self.files: list[Path | None] = []
        self._said = threading.Semaphore(0)

    def __call__(self, file: Path | None) -> None:
        self.files.append(file)
        self._said.release()

    def wait(self) -> list[Path | None]:
        self._said.acquire()
        return self.files


class Build:
    """Writes packages that nothing can load, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.keys: list[str] = []
        self.error = error

    def __call__(self, job: Job, folder: Path, closed: threading.Event) -> Path:
        self.keys.append(job.key)
        if self.error is not None:
            raise self.error
        return written(folder / "package", job.key)


@pytest.fixture
def builders(tmp_path: Path) -> Iterator[Any]:
    made: list[PackageBuilder] = []

    def make(build: Any) -> PackageBuilder:
        made.append(PackageBuilder(CacheFolder(tmp_path), build))
        return made[-1]

    yield make
    for builder in made:
        builder.close()


def test_what_is_ordered_is_built_and_kept(builders: Any, tmp_path: Path) -> None:
    build, done = Build(), Done()
    builders(build).order(KEY, a_job(str(KEY)), done)
    assert done.wait() == [CacheFolder(tmp_path).find(KEY)] != [None]
    assert build.keys == [str(KEY)]


def test_of_two_engines_one_builds(builders: Any) -> None:
    build, done = Build(), Done()
    for _ in range(2):
        builders(build).order(KEY, a_job(str(KEY)), done)
    done.wait()
    first, second = done.wait()
    assert first == second != None  # noqa: E711
    assert build.keys == [str(KEY)]


@pytest.mark.parametrize(
    "error",
    [BuildError("InvalidCxxCompiler: no g++"), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), RuntimeError("other")],
)
def test_what_cannot_be_built_is_said_and_the_next_one_is_built(
    builders: Any, error: Exception, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    build, done = Build(error), Done()
    builder = builders(build)
    builder.order(KEY, a_job(str(KEY)), done)
    assert done.wait() == [None]
    assert f"{KEY} is not built, its forwards run eagerly: {error}" in caplog.text
    assert list((tmp_path / KEY.forward).glob("*.building-*")) == []
    build.error = None
    builder.order(KEY, a_job(str(KEY)), done)
    assert done.wait()[-1] is not None


def test_closing_ends_what_is_being_built(builders: Any) -> None:
    began, done = threading.Event(), Done()

    def build(job: Job, folder: Path, closed: threading.Event) -> Path:
        began.set()
        assert closed.wait(60)
        raise BuildError("closed")

    builder = builders(build)
    builder.order(KEY, a_job(str(KEY)), done)
    assert began.wait(60)
    builder.close()
    builder.close()
    assert done.files == [None]


def test_a_process_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_builder, "start_module", lambda _, folder: Process(1, folder / PROBLEM, "E: no"))
    with pytest.raises(BuildError, match=r"^E: no$"):
        build_in_process(a_job(), tmp_path, threading.Event())
    monkeypatch.setattr(package_builder, "start_module", lambda _, folder: Process(-9, folder / "other", ""))
    (tmp_path / PROBLEM).unlink()
    with pytest.raises(BuildError, match="ended with status -9"):
        build_in_process(a_job(), tmp_path, threading.Event())


def test_a_process_does_not_outlive_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    start = worker_process.start_module

    def start_module(_: str, folder: Path) -> Any:
        started.append(start("tests.unit.engine.compiled.sleeper", folder))
        return started[-1]

    monkeypatch.setattr(package_builder, "start_module", start_module)
    closed = threading.Event()
    closed.set()
    with pytest.raises(BuildError, match="the engine is closed"):
        build_in_process(a_job(), tmp_path, closed)
    assert started[0].poll() is not None


class Process:
    """One that ends at once."""

    def __init__(self, status: int, file: Path, text: str) -> None:
        self._status = status
        self.stdin = file.open("wb")
        self.stdin.write(text.encode())
        self.stdin.flush()

    def wait(self, timeout: float | None = None) -> int:
        return self._status

    def kill(self) -> None:
        pass
