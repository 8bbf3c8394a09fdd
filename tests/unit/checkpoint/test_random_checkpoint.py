"""The made checkpoint is a real one: diffusers loads it, any text tokenises, and it is the same every time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline

from checkpoint.random_checkpoint import make_checkpoint


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("checkpoints") / "new folder" / "checkpoint"
    make_checkpoint(made)
    return made


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Any:
    loaded = DiffusionPipeline.from_pretrained(str(folder))
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_diffusers_loads_it_and_draws(pipeline: Any) -> None:
    assert isinstance(pipeline, StableDiffusionPipeline)
    generator = torch.Generator().manual_seed(0)
    [image] = pipeline("a cat", num_inference_steps=2, generator=generator, output_type="pt").images
    assert image.shape == (3, 128, 128)
    assert bool(torch.isfinite(image).all())
    assert image.std() > 0.01, "the images are to be noise, not one colour"


def test_the_same_weights_come_out_every_time_whatever_the_random_state(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(999)
    make_checkpoint(tmp_path / "again")
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert files == sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file())
    assert [path for path in files if path.suffix == ".safetensors"]
    for path in files:
        assert (folder / path).read_bytes() == (tmp_path / "again" / path).read_bytes(), path


@pytest.mark.parametrize(
    "text", ["", " ", "a cat", "Ein Kätzchen", "猫と犬", "🐈‍⬛ 👨‍👩‍👧", "\x00\x1f\x7f\t\n", "<|endoftext|>"]
)
def test_any_text_tokenises_without_unknown_tokens(pipeline: Any, text: str) -> None:
    tokens = pipeline.tokenizer(text, padding="max_length", truncation=True, max_length=77).input_ids
    assert len(tokens) == 77
    assert all(0 <= token < pipeline.text_encoder.config.vocab_size for token in tokens)


def test_different_texts_are_different_tokens(pipeline: Any) -> None:
    texts = ["a cat", "a dog", "猫", "犬", "🐈", "🐕", "é", "è"]
    tokens = {text: tuple(pipeline.tokenizer(text).input_ids) for text in texts}
    assert len(set(tokens.values())) == len(texts)


def test_the_tokenizer_is_saved_in_both_forms(folder: Path) -> None:
    files = {path.name for path in (folder / "tokenizer").iterdir()}
    assert {"tokenizer.json", "vocab.json", "merges.txt"} <= files
    assert len(json.loads((folder / "tokenizer" / "vocab.json").read_text())) == 514


def test_it_appears_complete_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(*args: object, **kwargs: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(StableDiffusionPipeline, "save_pretrained", disk_full)
    with pytest.raises(OSError, match="no space left"):
        make_checkpoint(tmp_path / "checkpoint")
    assert list(tmp_path.iterdir()) == []
