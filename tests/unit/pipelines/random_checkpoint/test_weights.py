"""Weights are random, the same for a seed, in shards, and shared ones are written once."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from imagegen.pipelines.random_checkpoint.weights import bytes_of, write_weights
from tests.unit.pipelines.random_checkpoint.small_architectures import SMALL_ARCHITECTURES

BF16 = torch.bfloat16
UNET = SMALL_ARCHITECTURES["sd15"].networks["unet"].build()
NAME = "diffusion_pytorch_model"


def written(
    folder: Path,
    network: torch.nn.Module = UNET,
    dtype: torch.dtype = BF16,
    seed: str = "0",
    shard_bytes: int = 1 << 30,
) -> dict[str, torch.Tensor]:
    folder.mkdir()
    write_weights(network, folder, dtype, seed, shard_bytes=shard_bytes)
    return {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}


def test_matrices_are_uniform_norms_one_biases_zero(tmp_path: Path) -> None:
    weights = written(tmp_path / "unet", dtype=torch.float32)
    matrix = weights["mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj.weight"]
    bound = 1 / math.sqrt(matrix.shape[1])
    assert matrix.abs().max() <= bound
    assert float(matrix.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert abs(float(matrix.mean())) < 0.02 * bound
    convolution = weights["mid_block.resnets.0.conv1.weight"]  # [out, in, 3, 3]
    assert convolution.abs().max() <= 1 / math.sqrt(convolution[0].numel())
    assert bool((weights["conv_norm_out.weight"] == 1).all())
    assert not any(bool(value.any()) for name, value in weights.items() if name.endswith(".bias"))


def test_an_embedding_is_not_smaller_the_wider_it_is(tmp_path: Path) -> None:
    encoder = SMALL_ARCHITECTURES["flux"].networks["text_encoder_2"].build()
    assert float(written(tmp_path / "t5", encoder)["shared.weight"].float().std()) == pytest.approx(0.577, rel=0.05)


def test_shared_weights_are_written_once(tmp_path: Path) -> None:
    encoder = SMALL_ARCHITECTURES["flux"].networks["text_encoder_2"].build()
    names = written(tmp_path / "t5", encoder).keys()
    assert "shared.weight" in names
    assert "encoder.embed_tokens.weight" not in names


def test_saved_buffers_keep_their_values(tmp_path: Path) -> None:
    transformer = SMALL_ARCHITECTURES["sd3"].networks["transformer"].build()
    saved = written(tmp_path / "sd3", transformer)["pos_embed.pos_embed"]
    assert torch.equal(saved, transformer.pos_embed.pos_embed.to(BF16))


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = written(tmp_path / "a")
    torch.manual_seed(2)
    again, other = written(tmp_path / "b", shard_bytes=50_000), written(tmp_path / "c", seed="1")
    assert first.keys() == again.keys() == other.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv_in.weight"], other["conv_in.weight"])
    assert not torch.equal(first["mid_block.resnets.0.conv1.weight"], first["mid_block.resnets.0.conv2.weight"])


def test_fewer_layers_are_the_first_ones_and_another_dtype_is_the_rounded_one(tmp_path: Path) -> None:
    network = SMALL_ARCHITECTURES["flux"].networks["transformer"]
    two = written(tmp_path / "two", network.cut(2).build(), torch.float32)
    one = written(tmp_path / "one", network.cut(1).build())
    assert one.keys() < two.keys()
    assert all(torch.equal(value, two[name].to(BF16)) for name, value in one.items())


def test_shards_are_no_larger_than_asked_and_the_index_knows_them(tmp_path: Path) -> None:
    weights = written(tmp_path / "unet", shard_bytes=100_000)
    index = json.loads((tmp_path / "unet" / f"{NAME}.safetensors.index.json").read_text())
    files = sorted(tmp_path.glob("unet/*.safetensors"))
    assert len(files) > 3
    assert sorted(set(index["weight_map"].values())) == [file.name for file in files]
    assert files[0].name == f"{NAME}-00001-of-{len(files):05}.safetensors"
    assert index["weight_map"].keys() == weights.keys()
    assert index["metadata"]["total_size"] == bytes_of(UNET, BF16) == sum(value.nbytes for value in weights.values())
    for file in files:
        shard = load_file(file)
        assert sum(value.nbytes for value in shard.values()) <= 100_000 or len(shard) == 1


def test_one_file_needs_no_index(tmp_path: Path) -> None:
    written(tmp_path / "unet")
    assert [path.name for path in (tmp_path / "unet").iterdir()] == [f"{NAME}.safetensors"]


def test_progress_adds_up_to_the_whole(tmp_path: Path) -> None:
    counts: list[int] = []
    write_weights(UNET, tmp_path, BF16, "0", counts.append)
    assert sum(counts) == bytes_of(UNET, BF16)
