"""A weight file is read piece by piece, and a piece is let go once nothing needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models import model_loading_utils, modeling_utils
from safetensors import SafetensorError
from safetensors.torch import save_file

from imagegen.pipelines import mapped_weights
from imagegen.pipelines.mapped_weights import MappedWeights, reading_in_pieces
from tests.unit import tiny_pipelines as tiny

COUNT, SIDE = 16, 256
TENSOR_BYTES = SIDE * SIDE * 4


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file({f"t{i:02}": torch.full((SIDE, SIDE), float(i)) for i in range(COUNT)}, tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def mappings(file: Path) -> int:
    """How often the file is mapped in this process."""
    return sum(line.rstrip().endswith(str(file)) for line in Path("/proc/self/maps").read_text().splitlines())


def test_the_tensors_are_those_of_the_file(file: Path) -> None:
    read = MappedWeights(file, piece_bytes=3 * TENSOR_BYTES)
    assert {name: tensor[0, 0].item() for name, tensor in read.items()} == {f"t{i:02}": i for i in range(COUNT)}
    read["renamed"] = read.pop("t03")
    assert "t03" not in read
    assert read["renamed"][0, 0] == 3


def test_what_is_converted_leaves_no_more_than_one_piece_mapped(file: Path) -> None:
    """A whole file was resident until its last tensor was converted."""
    most = 0
    for tensor in MappedWeights(file, piece_bytes=2 * TENSOR_BYTES).values():
        tensor.to(torch.float64)
        most = max(most, mappings(file))
    del tensor
    assert most <= 2  # the last tensor of one piece, and the next one
    assert mappings(file) == 0


def test_what_is_kept_lies_in_one_mapping(file: Path) -> None:
    """Each counts as much memory as the whole file has where the system does not overcommit."""
    kept = [torch.nn.Parameter(t) for t in MappedWeights(file, piece_bytes=2 * TENSOR_BYTES).values()]
    assert mappings(file) == 1
    assert [int(tensor[0, 0]) for tensor in kept] == list(range(COUNT))


def test_once_what_was_kept_is_gone_the_file_is_read_in_pieces_again(file: Path) -> None:
    read = iter(MappedWeights(file, piece_bytes=2 * TENSOR_BYTES).values())
    kept = [next(read) for _ in range(COUNT // 2)]
    assert mappings(file) == 1
    del kept
    before = mappings(file)
    assert int(next(read)[0, 0]) == COUNT // 2
    assert (before, mappings(file)) == (1, 1)
    for tensor in read:
        tensor.to(torch.float64)
        assert mappings(file) <= 2


def test_a_damaged_file_is_an_error(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(SafetensorError):
        MappedWeights(file)


@pytest.mark.parametrize("shard", ["10GB", "100KB"])
def test_diffusers_reads_its_models_in_pieces(shard: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unet = tiny.sd().unet
    unet.save_pretrained(tmp_path, max_shard_size=shard)
    asked: set[str] = set()

    class Spy(MappedWeights):
        def __getitem__(self, name: str) -> torch.Tensor:
            asked.add(name)
            return super().__getitem__(name)

    monkeypatch.setattr(mapped_weights, "MappedWeights", Spy)
    original = model_loading_utils.load_state_dict
    with reading_in_pieces():
        loaded: Any = UNet2DConditionModel.from_pretrained(str(tmp_path))
    assert model_loading_utils.load_state_dict is modeling_utils.load_state_dict is original
    assert asked == set(unet.state_dict())
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in unet.state_dict().items())


@pytest.mark.parametrize(("dtype", "in_pieces"), [(torch.bfloat16, True), (torch.float32, False)])
def test_of_a_file_that_diffusers_converts_a_piece_is_mapped_at_a_time_and_of_one_it_keeps_the_file_once(
    dtype: torch.dtype, in_pieces: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.sd().unet.save_pretrained(tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    piece_bytes = file.stat().st_size // 10
    opened: list[int] = []

    class Spy(MappedWeights):
        def __init__(self, file: Path) -> None:
            super().__init__(file, piece_bytes)

        def _map(self) -> Any:
            opened.append(mappings(file))  # that are still there
            return super()._map()

    monkeypatch.setattr(mapped_weights, "MappedWeights", Spy)
    with reading_in_pieces():
        UNet2DConditionModel.from_pretrained(str(tmp_path), dtype=dtype)
    assert (len(opened) > 5) is in_pieces
    assert (len(opened) == 1) is not in_pieces
    assert max(opened) <= 2


def test_a_damaged_file_of_a_model_is_told_in_diffusers_own_words(tmp_path: Path) -> None:
    tiny.sd().unet.save_pretrained(tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:1000])
    with reading_in_pieces(), pytest.raises(OSError, match="Unable to load weights from checkpoint file"):
        UNet2DConditionModel.from_pretrained(str(tmp_path))
