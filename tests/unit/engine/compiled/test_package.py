"""A package's file is whole or refused. What a real one computes is in test_build.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from imagegen.engine.compiled.package import Details, Package, PackageError, check_package, write_package
from tests.unit.engine.compiled.toys import CPU, Toy, written


def test_a_whole_package_is_accepted(tmp_path: Path) -> None:
    check_package(written(tmp_path / "a", "key"), "key")


def test_a_package_of_another_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="it is key, not other"):
        check_package(written(tmp_path / "a", "key"), "other")


@pytest.mark.parametrize("share", [0, 0.3, 0.9, 0.999])
def test_a_torn_package_is_refused(tmp_path: Path, share: float) -> None:
    file = written(tmp_path / "a", "key")
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(PackageError):
        check_package(file, "key")


def test_a_bit_that_has_flipped_is_noticed(tmp_path: Path) -> None:
    file = written(tmp_path / "a", "key")
    whole = bytearray(file.read_bytes())
    whole[200] ^= 1
    file.write_bytes(whole)
    with pytest.raises(PackageError, match="torn"):
        check_package(file, "key")


def test_what_is_there_already_is_not_written_over(tmp_path: Path) -> None:
    file = written(tmp_path / "a", "key")
    with pytest.raises(FileExistsError):
        write_package(file, "key", file, Details(1, {"a": torch.zeros(1)}))


def test_no_package_and_code_that_cannot_be_loaded_are_errors(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="No such file"):
        Package(tmp_path / "none", "key", Toy(), CPU)
    with pytest.raises(PackageError):
        Package(written(tmp_path / "a", "key"), "key", Toy(), CPU)
