"""Adapters in the host's memory: read once, found anew when their file is another one."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from imagegen.engine.adapters.adapter import Adapter, AdapterError
from imagegen.engine.adapters.host_adapters import HostAdapters
from tests.unit.engine.adapters.files import Reader, write
from tests.unit.tiny_engine import wait_until

LARGE = 10**6
SIZE_BYTES = 2 * 8 * 4 * 2


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def adapters(reader: Reader) -> HostAdapters:
    return HostAdapters(Path, reader, LARGE)


def test_the_buffer_holds_all_matrices(adapters: HostAdapters, reader: Reader, tmp_path: Path) -> None:
    where = write(tmp_path, "a", "1")
    found = adapters.get(where)
    read = reader(Path(where))
    layers = found.unpacked(found.buffer.clone())
    assert torch.equal(layers["unet"]["linear"].down, read.components["unet"]["linear"].down)
    assert torch.equal(layers["unet"]["linear"].up, read.components["unet"]["linear"].up)
    assert found.size_bytes == SIZE_BYTES == found.buffer.nbytes
    assert (found.rank, found.digest) == (2, read.digest)
    assert found.layers == {name: frozenset(layers) for name, layers in read.components.items()}


def test_a_file_is_read_once(adapters: HostAdapters, reader: Reader, tmp_path: Path) -> None:
    where = write(tmp_path, "a", "1")
    assert adapters.known(where) is None
    assert adapters.get(where) is adapters.get(where) is adapters.known(where)
    assert reader.reads == ["a"]
    assert adapters.statistics.misses == 1


def test_many_at_once_read_it_once(adapters: HostAdapters, reader: Reader, tmp_path: Path) -> None:
    where = write(tmp_path, "a", "1")
    reader.gate.clear()
    with ThreadPoolExecutor(8) as threads:
        found = [threads.submit(adapters.get, where) for _ in range(8)]
        wait_until(lambda: len(reader.reads) == 1)
        reader.gate.set()
        assert len({id(each.result()) for each in found}) == 1
    assert reader.reads == ["a"]


def test_a_file_that_is_replaced_is_another_adapter(adapters: HostAdapters, tmp_path: Path) -> None:
    where = write(tmp_path, "a", "1")
    first = adapters.get(where)
    os.replace(write(tmp_path, "b", "22"), where)
    assert adapters.known(where) is None
    assert adapters.get(where).digest != first.digest


def test_a_refusal_is_remembered_until_the_file_is_another_one(
    adapters: HostAdapters, reader: Reader, tmp_path: Path
) -> None:
    """Each request that named it had the whole of it read again."""
    where = write(tmp_path, "a", "no number")
    for _ in range(3):
        with pytest.raises(AdapterError, match="a: no number"):
            adapters.get(where)
    assert reader.reads == ["a"]
    os.replace(write(tmp_path, "b", "22"), where)
    assert adapters.get(where).rank == 2


def test_other_failures_are_tried_again(adapters: HostAdapters, reader: Reader, tmp_path: Path) -> None:
    where = write(tmp_path, "a", "1")
    adapters._read = lambda file: (_ for _ in ()).throw(MemoryError())
    with pytest.raises(MemoryError):
        adapters.get(where)
    adapters._read = reader
    assert adapters.get(where).rank == 2


def test_one_that_is_forgotten_leaves(adapters: HostAdapters, tmp_path: Path) -> None:
    where = write(tmp_path, "a", "1")
    adapters.get(where)
    adapters.forget(where)
    assert adapters.statistics.bytes == 0
    adapters.forget(where)
    gone = write(tmp_path, "b", "2")
    adapters.get(gone)
    Path(gone).unlink()
    adapters.forget(gone)
    assert adapters.known(gone) is None


def test_a_failure_reaches_all_that_wait_and_is_tried_again(
    adapters: HostAdapters, reader: Reader, tmp_path: Path
) -> None:
    where = write(tmp_path, "a", "no number")
    reader.gate.clear()
    with ThreadPoolExecutor(4) as threads:
        found = [threads.submit(adapters.get, where) for _ in range(4)]
        wait_until(lambda: len(reader.reads) >= 1)
        reader.gate.set()
        for each in found:
            with pytest.raises(AdapterError, match="a: no number"):
                each.result()
    write(tmp_path, "a", "1")
    assert adapters.get(where).rank == 2


def test_a_file_that_vanished_is_named(adapters: HostAdapters, tmp_path: Path) -> None:
    where = write(tmp_path, "a", "1")
    adapters.get(where)
    Path(where).unlink()
    assert adapters.known(where) is None
    with pytest.raises(AdapterError, match="a: No such file"):
        adapters.get(where)


def test_it_is_located_once_until_it_is_forgotten(reader: Reader, tmp_path: Path) -> None:
    located = []
    file = Path(write(tmp_path, "a", "1"))

    def locate(where: str) -> Path:
        located.append(where)
        return file

    adapters = HostAdapters(locate, reader, LARGE)
    adapters.get("org/name")
    adapters.get("org/name")
    assert located == ["org/name"]
    adapters.forget("org/name")
    adapters.get("org/name")
    assert located == ["org/name"] * 2


def test_one_that_is_forgotten_while_it_is_read_is_read_to_its_end(
    adapters: HostAdapters, reader: Reader, tmp_path: Path
) -> None:
    """An administrator unloads it just then; the request that has asked for it keeps it."""
    where = write(tmp_path, "a", "1")
    forget = reader.__call__

    def read(file: Path) -> Adapter:
        adapters.forget(where)
        return forget(file)

    adapters._read = read
    assert adapters.get(where).rank == 2
    adapters._cache.clear()


def test_the_least_recently_used_leaves_within_the_bytes(reader: Reader, tmp_path: Path) -> None:
    adapters = HostAdapters(Path, reader, 2 * SIZE_BYTES)
    a, b, c = (write(tmp_path, name, str(index)) for index, name in enumerate("abc"))
    for where in (a, b, a, c):
        adapters.get(where)
    assert adapters.known(b) is None
    assert adapters.known(a) is not None
    assert adapters.statistics.evictions == 1
    assert adapters.statistics.bytes == 2 * SIZE_BYTES


def test_how_long_it_took_is_told(reader: Reader, tmp_path: Path) -> None:
    took: list[float] = []
    HostAdapters(Path, reader, LARGE, read_in=took.append).get(write(tmp_path, "a", "1"))
    assert len(took) == 1
