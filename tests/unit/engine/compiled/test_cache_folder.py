"""The shared folder: torn files, other versions, two builders, crashes, and folders that cannot be written to."""

from __future__ import annotations

import errno
import logging
import os
import threading
from pathlib import Path

import pytest

from imagegen.engine.compiled.cache_folder import CacheFolder
from imagegen.engine.compiled.package import PackageError
from imagegen.engine.compiled.package_key import PackageKey
from tests.unit.engine.compiled.toys import written

KEY = PackageKey("forward", "torch-2.13.0-cpu-1")


def kept(cache: CacheFolder, key: PackageKey = KEY) -> Path:
    with cache.turn(key, threading.Event()) as folder:
        return cache.keep(written(folder / "package", str(key)), key)


def test_what_is_kept_is_found_and_nothing_else_is_left(tmp_path: Path) -> None:
    cache = CacheFolder(tmp_path / "new")
    assert cache.find(KEY) is None
    file = kept(cache)
    assert cache.find(KEY) == file
    assert sorted(left.name for left in file.parent.iterdir()) == [f"{KEY.environment}.lock", file.name]


def test_a_torn_file_is_not_found_and_built_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = CacheFolder(tmp_path)
    file = kept(cache)
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])
    assert cache.find(KEY) is None
    assert f"the package {file} is not used" in caplog.text
    kept(cache)
    assert file.read_bytes() == whole


def test_a_package_that_is_not_whole_is_not_kept(tmp_path: Path) -> None:
    cache = CacheFolder(tmp_path)
    with cache.turn(KEY, threading.Event()) as folder:
        built = written(folder / "package", str(KEY))
        built.write_bytes(built.read_bytes()[:100])
        with pytest.raises(PackageError):
            cache.keep(built, KEY)
    assert cache.find(KEY) is None


def test_a_package_for_another_torch_is_named_and_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = CacheFolder(tmp_path)
    other = PackageKey("forward", "torch-2.12.0-cpu-1")
    file = kept(cache, other)
    assert cache.find(KEY) is None
    assert "only for another torch, device or machine: torch-2.12.0-cpu-1" in caplog.text
    kept(cache)
    assert cache.find(other) == file


def test_a_file_under_another_name_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = CacheFolder(tmp_path)
    file = kept(cache, PackageKey("forward", "torch-2.12.0-cpu-1"))
    file.rename(file.with_name(f"{KEY.environment}.package"))
    assert cache.find(KEY) is None
    assert "it is forward/torch-2.12.0-cpu-1, not forward/torch-2.13.0-cpu-1" in caplog.text


def test_of_two_the_second_waits_for_the_first(tmp_path: Path) -> None:
    first, second = CacheFolder(tmp_path), CacheFolder(tmp_path)
    found: list[Path | None] = []

    def build_too() -> None:
        with second.turn(KEY, threading.Event()):
            found.append(second.find(KEY))

    with first.turn(KEY, threading.Event()) as folder:
        other = threading.Thread(target=build_too)
        other.start()
        file = first.keep(written(folder / "package", str(KEY)), KEY)
        assert found == []
    other.join()
    assert found == [file]


def test_other_keys_do_not_wait(tmp_path: Path) -> None:
    cache = CacheFolder(tmp_path)
    with cache.turn(KEY, threading.Event()):
        kept(cache, PackageKey("forward", "torch-2.13.0-cpu-2"))


def test_the_wait_ends_when_the_engine_is_closed(tmp_path: Path) -> None:
    cache = CacheFolder(tmp_path)
    closed = threading.Event()
    closed.set()
    with (
        cache.turn(KEY, threading.Event()),
        pytest.raises(InterruptedError, match="closed"),
        cache.turn(KEY, closed),
    ):
        pass


def test_what_a_killed_builder_left_is_removed(tmp_path: Path) -> None:
    cache = CacheFolder(tmp_path)
    left = tmp_path / "forward" / f"{KEY.environment}.building-abc"
    left.mkdir(parents=True)
    (left / "code.cpp").write_text("half")
    kept(cache)
    assert not left.exists()


def test_what_cannot_be_written_is_an_error_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is read-only, or on a full disk; root may write anywhere, so that it is pretended."""
    cache = CacheFolder(tmp_path)
    file = kept(cache)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match="Read-only"), cache.turn(KEY, threading.Event()):
        pass
    monkeypatch.undo()
    assert cache.find(KEY) == file


def test_a_folder_that_is_a_file_is_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    cache = CacheFolder(tmp_path / "file")
    with caplog.at_level(logging.WARNING):
        assert cache.find(KEY) is None
    with pytest.raises(OSError, match="file"), cache.turn(KEY, threading.Event()):
        pass


def test_a_folder_that_may_not_be_looked_at_has_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lone `stat` that is refused must not fail a forward."""
    cache = CacheFolder(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    for name in ("stat", "open"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr("builtins.open", refuse)
    assert cache.find(KEY) is None
