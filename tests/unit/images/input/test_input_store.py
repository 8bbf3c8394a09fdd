"""Files are kept whole or not at all, under names that we choose."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from imagegen.images.input.input_store import Originals


def test_a_file_is_kept_as_it_came_under_its_hash(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    path = Originals(folder).keep(b"image", "JPEG")
    assert Path(path).read_bytes() == b"image"
    assert Path(path).parent == folder
    assert Path(path).name == hashlib.sha256(b"image").hexdigest() + ".jpeg"


def test_the_same_file_is_kept_once(tmp_path: Path) -> None:
    originals = Originals(tmp_path)
    assert len({originals.keep(b"image", "PNG") for _ in range(3)}) == 1
    assert originals.keep(b"other", "PNG") != originals.keep(b"image", "PNG")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    originals = Originals(tmp_path)

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        originals.keep(b"image", "PNG")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        Originals(tmp_path / "file" / "folder")
