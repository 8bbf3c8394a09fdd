"""Files are saved whole or not at all, under names that the server chooses."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from imagegen.images.input.input_store import InputStore


def test_a_file_is_saved_as_it_came_under_its_hash(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    path = InputStore(folder).save(b"image", "JPEG")
    assert Path(path).read_bytes() == b"image"
    assert Path(path).parent == folder
    assert Path(path).name == hashlib.sha256(b"image").hexdigest() + ".jpeg"


def test_the_same_file_is_saved_once(tmp_path: Path) -> None:
    store = InputStore(tmp_path)
    assert len({store.save(b"image", "PNG") for _ in range(3)}) == 1
    assert store.save(b"other", "PNG") != store.save(b"image", "PNG")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = InputStore(tmp_path)

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        store.save(b"image", "PNG")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        InputStore(tmp_path / "file" / "folder")
