"""A checkpoint whose weights have another variant than the settings say: what to set instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from checkpoint.random_checkpoint import make_checkpoint
from imagegen.pipelines.checkpoint import load_pipelines
from imagegen.pipelines.settings import PipelineSettings


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


def test_weights_in_several_files(folder: Path) -> None:
    (weights,) = (folder / "unet").glob("*.safetensors")
    weights.rename(weights.with_name("diffusion_pytorch_model.fp16-00001-of-00002.safetensors"))
    with pytest.raises(ValueError, match=r"unet has only weights of the variant fp16"):
        load(folder)


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
