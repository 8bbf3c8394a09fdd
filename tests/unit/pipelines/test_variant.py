"""A checkpoint whose weights have another variant than the settings say: what to set instead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from checkpoint.random_checkpoint import make_checkpoint
from imagegen.pipelines.checkpoint import load_pipelines
from imagegen.pipelines.loading import load_base
from imagegen.pipelines.settings import PipelineSettings
from imagegen.pipelines.variant import check_variant, weight_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_checkpoint(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def rename_weights(folder: Path, variant: str, *components: str) -> None:
    """Give weights the name that `save_pretrained` gives to those of a variant."""
    for weights in folder.glob("*/*.safetensors"):
        if not components or weights.parent.name in components:
            weights.rename(weights.with_suffix(f".{variant}.safetensors"))


def load(folder: Path, variant: str | None = None) -> None:
    load_pipelines(PipelineSettings(model=str(folder), variant=variant), folder.parent, "cpu")


@pytest.mark.parametrize("components", [(), ("unet",), ("text_encoder", "vae")])
def test_weights_of_one_variant_alone(folder: Path, components: tuple[str, ...]) -> None:
    rename_weights(folder, "fp16", *components)
    with pytest.raises(ValueError, match=r"has only weights of the variant fp16; set the parameter variant to it"):
        load(folder)
    load(folder, "fp16")


@pytest.mark.parametrize("shard", [".fp16-0000{}-of-00002", "-0000{}-of-00002.fp16"])
def test_weights_in_several_files(folder: Path, shard: str) -> None:
    """Older checkpoints name the variant last: it was not found, or the plain weights were loaded instead."""
    (weights,) = (folder / "unet").glob("*.safetensors")
    shards = [weights.with_name(f"diffusion_pytorch_model{shard.format(number)}.safetensors") for number in (1, 2)]
    for file in shards:
        file.write_bytes(b"")
    assert sorted(weight_files(folder / "unet", "fp16")) == shards
    assert weight_files(folder / "unet", None) == [weights]
    check_variant(folder, None)
    check_variant(folder, "fp16")
    weights.unlink()
    with pytest.raises(ValueError, match=r"unet has only weights of the variant fp16"):
        load(folder)


@pytest.mark.filterwarnings("ignore:.*serialization format is now deprecated:FutureWarning")
def test_shards_that_name_the_variant_last_are_loaded(folder: Path) -> None:
    part = folder / "unet"
    network = UNet2DConditionModel.from_pretrained(str(part))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.5)
    network.save_pretrained(part, variant="fp16", max_shard_size="300KB")
    files = sorted(part.glob("*.fp16-*.safetensors"))
    assert len(files) > 1
    (index,) = part.glob("*.index.fp16.json")
    index.with_name("diffusion_pytorch_model.safetensors.fp16.index.json").write_text(
        re.sub(r"\.fp16(-\d+-of-\d+)\.", r"\1.fp16.", index.read_text())
    )
    index.unlink()
    for file in files:
        file.rename(file.with_name(re.sub(r"\.fp16(-\d+-of-\d+)\.", r"\1.fp16.", file.name)))
    base = load_base(folder, variant="fp16", dtype=torch.float32, device=torch.device("cpu"))
    assert all(bool((parameter == 0.5).all()) for parameter in base.unet.parameters())


def test_a_variant_that_is_not_there(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"no weights of the variant fp16; leave the parameter variant empty"):
        load(folder, "fp16")
    rename_weights(folder, "bf16")
    with pytest.raises(ValueError, match=r"no weights of the variant fp16; it has bf16"):
        load(folder, "fp16")


def test_a_component_that_is_not_used_does_not_count(folder: Path) -> None:
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "model.fp16.safetensors").write_bytes(b"")
    load(folder)


def test_both_variants_side_by_side(folder: Path) -> None:
    for weights in folder.glob("*/*.safetensors"):
        weights.with_suffix(".fp16.safetensors").write_bytes(weights.read_bytes())
    load(folder)
    load(folder, "fp16")
