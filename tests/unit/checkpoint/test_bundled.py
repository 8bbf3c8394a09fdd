"""The shipped weights: they load in every way a user loads them, are small, and know the words of the grammar."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting, AutoPipelineForText2Image
from transformers import AutoTokenizer

from checkpoint import BUNDLED, captions


def test_everything_together_is_at_most_20_megabytes() -> None:
    assert sum(file.stat().st_size for file in BUNDLED.rglob("*") if file.is_file()) <= 20e6
    assert {file.suffix for file in BUNDLED.rglob("*.*") if file.stat().st_size > 500_000} == {".safetensors"}


def test_the_shipped_tokenizer_knows_the_words_of_the_grammar() -> None:
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED / "tokenizer")
    assert tokenizer.model_max_length == 77
    assert all(len(tokenizer(word).input_ids) == 3 for word in captions.vocabulary())


@pytest.mark.parametrize("family", [AutoPipelineForText2Image, AutoPipelineForImage2Image, AutoPipelineForInpainting])
def test_it_loads_through_every_auto_pipeline(family: type) -> None:
    pipeline = family.from_pretrained(BUNDLED, dtype=torch.float32)  # type: ignore[attr-defined]
    assert pipeline.unet.config.sample_size * pipeline.vae_scale_factor == 128
