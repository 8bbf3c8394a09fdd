from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from imagegen.engine.adapters.adapter import AdapterError
from imagegen.engine.adapters.adapter_file import AdapterFile, read_file

MAX_BYTES = 1 << 20
TENSORS = {"unet.a.lora_A.weight": torch.arange(6.0).reshape(2, 3), "alpha": torch.tensor(4.0)}
INTACT = save(TENSORS, {"lora_adapter_metadata": "{}"})


def refused(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """The message of the refusal, which has the file's name and no folder."""
    with pytest.raises(AdapterError) as error:
        read_file(path, max_bytes)
    message = str(error.value)
    assert message.startswith(f"{path.name}: ")
    assert str(path.parent) not in message
    return message


def test_a_file_is_read_with_its_metadata(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "style.safetensors", {"format": "pt", "lora_adapter_metadata": "{}"})
    file = read_file(tmp_path / "style.safetensors", MAX_BYTES)
    assert file.name == "style.safetensors"
    assert file.metadata == {"format": "pt", "lora_adapter_metadata": "{}"}
    assert file.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(file.tensors[key], tensor) for key, tensor in TENSORS.items())


def test_a_file_without_metadata_has_none(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "style.safetensors")
    assert read_file(tmp_path / "style.safetensors", MAX_BYTES).metadata == {}


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    for name, data in (("one", INTACT), ("same", INTACT), ("other", save(TENSORS))):
        (tmp_path / name).write_bytes(data)
    one, same, other = (read_file(tmp_path / name, MAX_BYTES).digest for name in ("one", "same", "other"))
    assert one == same != other


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int8, torch.bool, torch.float8_e4m3fn, torch.uint16]
)
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_any_dtype_and_shape_is_read_as_it_is(tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    save_file({"a": torch.ones(shape).to(dtype)}, tmp_path / "style.safetensors")
    tensor = read_file(tmp_path / "style.safetensors", MAX_BYTES).tensors["a"]
    assert (tensor.dtype, tuple(tensor.shape)) == (dtype, shape)


def test_the_limit_is_the_largest_file_that_is_read(tmp_path: Path) -> None:
    (tmp_path / "style.safetensors").write_bytes(INTACT)
    assert read_file(tmp_path / "style.safetensors", len(INTACT)).tensors
    assert f"{len(INTACT) - 1} are allowed" in refused(tmp_path / "style.safetensors", len(INTACT) - 1)


@pytest.mark.parametrize("name", ["style.bin", "style.safetensors"])
@pytest.mark.parametrize("new_format", [True, False])
def test_a_pickle_is_not_loaded_whatever_its_name(tmp_path: Path, name: str, new_format: bool) -> None:
    torch.save(TENSORS, tmp_path / name, _use_new_zipfile_serialization=new_format)
    assert "pickle" in refused(tmp_path / name)


class _Opened:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (str(self.path), "w"))


def test_a_pickle_that_would_run_something_does_not(tmp_path: Path) -> None:
    (tmp_path / "style.safetensors").write_bytes(pickle.dumps(_Opened(tmp_path / "ran")))
    refused(tmp_path / "style.safetensors")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"x", "intact"),
        (INTACT[:-1], "intact"),
        (INTACT[:40], "intact"),
        (INTACT + b"\0", "intact"),
        (b"\xff" * 64, "intact"),
        ((1 << 62).to_bytes(8, "little") + INTACT[8:], "intact"),
        (INTACT.replace(b'"F32"', b'"F99"'), "intact"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, data: bytes, why: str) -> None:
    (tmp_path / "style.safetensors").write_bytes(data)
    assert why in refused(tmp_path / "style.safetensors")


def test_a_file_that_begins_like_a_pickle_by_its_size_is_read(tmp_path: Path) -> None:
    data = next(
        data for length in range(300) if (data := save({"a": torch.ones(1)}, {"x": "." * length}))[:1] == b"\x80"
    )
    (tmp_path / "style.safetensors").write_bytes(data)
    assert read_file(tmp_path / "style.safetensors", MAX_BYTES).tensors["a"] == 1


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "style.safetensors")
    assert "No such file" in refused(tmp_path / "gone" / "style.safetensors")


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    assert "name" in refused(tmp_path / "a\0b")
    assert "too long" in refused(tmp_path / ("a" * 1000))


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in refused(tmp_path / "pipe")
    assert "no regular file" in refused(Path("/dev/zero"))
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "style.safetensors").write_bytes(INTACT)
    (tmp_path / "style.safetensors").chmod(0)
    assert "Permission denied" in refused(tmp_path / "style.safetensors")


def test_a_link_is_followed_and_named_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(INTACT)
    (tmp_path / "style.safetensors").symlink_to(tmp_path / "blob")
    assert read_file(tmp_path / "style.safetensors", MAX_BYTES).name == "style.safetensors"


def replace_by_another(path: Path) -> None:
    (path.parent / "new").write_bytes(INTACT)
    (path.parent / "new").replace(path)


def write_in_place(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(INTACT[:1])
    os.utime(path, ns=(1, 1))  # whatever the clock's resolution


@pytest.mark.parametrize(
    "change",
    [
        replace_by_another,
        write_in_place,
        lambda path: os.truncate(path, len(INTACT) - 1),
        lambda path: path.open("ab").write(b"more"),
    ],
)
@pytest.mark.filterwarnings("ignore:unclosed file")
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: object
) -> None:
    path = tmp_path / "style.safetensors"
    path.write_bytes(INTACT)
    real_fstat = os.fstat
    calls: list[int] = []

    def fstat_then_change(descriptor: int) -> os.stat_result:
        status = real_fstat(descriptor)
        if not calls:
            calls.append(descriptor)
            assert callable(change)
            change(path)
        return status

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", fstat_then_change)
        assert "changed while it was read" in refused(path)


def test_a_file_that_vanishes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "style.safetensors"
    path.write_bytes(INTACT)
    real_fstat = os.fstat

    def fstat_then_remove(descriptor: int) -> os.stat_result:
        path.unlink(missing_ok=True)
        return real_fstat(descriptor)

    monkeypatch.setattr(os, "fstat", fstat_then_remove)
    assert "No such file" in refused(path)


def read_or_refuse(path: Path) -> AdapterFile | AdapterError:
    try:
        return read_file(path, MAX_BYTES)
    except AdapterError as error:
        return error


def test_many_threads_may_read_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "style.safetensors").write_bytes(INTACT)
    found: list[AdapterFile | AdapterError] = []
    threads = [
        threading.Thread(target=lambda: found.append(read_or_refuse(tmp_path / "style.safetensors"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {file.digest for file in found if isinstance(file, AdapterFile)} == {
        read_file(tmp_path / "style.safetensors", MAX_BYTES).digest
    }
    assert len(found) == 4


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    cut=st.integers(0, len(INTACT)),
    changes=st.lists(st.tuples(st.integers(0, len(INTACT) - 1), st.integers(0, 255)), max_size=4),
    tail=st.binary(max_size=16),
)
def test_whatever_the_bytes_a_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, cut: int, changes: list[tuple[int, int]], tail: bytes
) -> None:
    data = bytearray(INTACT)
    for position, value in changes:
        data[position] = value
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    path.write_bytes(bytes(data[: cut or None]) + tail)
    read_or_refuse(path)


def test_a_refusal_shows_a_hostile_key_briefly() -> None:
    file = AdapterFile("style.safetensors", "0", {}, {})
    assert str(file.refusal("a.b", "is wrong")) == "style.safetensors: a.b is wrong"
    assert len(str(file.refusal("x" * 10_000, "is wrong"))) < 300
    assert "\n" not in str(file.refusal("a\nb", "is wrong"))
