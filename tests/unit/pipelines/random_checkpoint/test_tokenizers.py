"""Tokenizers of the published sizes, with any text as tokens that the embedding has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from diffusers import QwenImagePipeline
from transformers import AutoTokenizer

from imagegen.pipelines.random_checkpoint.published import ARCHITECTURES
from imagegen.pipelines.random_checkpoint.tokenizers import clip_tokenizer, qwen_tokenizer, t5_tokenizer

TEXTS = ["", " ", "a cat", "Ein Kätzchen", "猫と犬", "🐈‍⬛ 👨‍👩‍👧", "\x00\x1f\x7f\t\n", "<|endoftext|>", "a" * 5000]


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    flux, qwen = ARCHITECTURES["flux"].tokenizers, ARCHITECTURES["qwen-image"].tokenizers
    return {"clip": flux["tokenizer"](), "t5": flux["tokenizer_2"](), "qwen": qwen["tokenizer"]()}


@pytest.mark.parametrize(("kind", "tokens"), [("clip", 49408), ("t5", 32100), ("qwen", 151643 + 14)])
def test_it_has_the_published_number_of_tokens(published: dict[str, Any], kind: str, tokens: int) -> None:
    assert len(published[kind]) == tokens
    assert len(published[kind].get_vocab()) == tokens


@pytest.mark.parametrize("kind", ["clip", "t5", "qwen"])
@pytest.mark.parametrize("text", TEXTS)
def test_any_text_is_tokens_that_the_embedding_has(published: dict[str, Any], kind: str, text: str) -> None:
    ids = published[kind](text).input_ids
    assert all(0 <= number < len(published[kind]) for number in ids)


@pytest.mark.parametrize("kind", ["clip", "t5", "qwen"])
def test_a_text_has_about_as_many_tokens_as_with_the_real_words(published: dict[str, Any], kind: str) -> None:
    text = "a photograph of an astronaut riding a horse on the moon, highly detailed, sharp focus"
    real = 17  # words and commas: nearly all of them are one token of the real vocabularies
    count = len(published[kind](text, add_special_tokens=False).input_ids)
    assert real <= count <= 3 * real


def test_special_tokens_have_their_published_ids(published: dict[str, Any]) -> None:
    clip, t5, qwen = published["clip"], published["t5"], published["qwen"]
    assert clip("a").input_ids[::2] == [49406, 49407]
    assert (t5.pad_token_id, t5.eos_token_id, t5.unk_token_id) == (0, 1, 2)
    assert t5("a").input_ids[-1] == 1
    assert t5.convert_tokens_to_ids("<extra_id_99>") in range(32000, 32100)
    named = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|image_pad|>", "<|video_pad|>"]
    assert qwen.convert_tokens_to_ids(named) == [151643, 151644, 151645, 151655, 151656]
    assert clip_tokenizer(600, pad_token="!").pad_token_id == 0


def test_what_qwen_images_pipeline_drops_is_the_template(published: dict[str, Any]) -> None:
    pipeline = QwenImagePipeline(None, None, None, published["qwen"], None)
    before, _, _ = pipeline.prompt_template_encode.partition("{}")
    assert len(published["qwen"](before).input_ids) == pipeline.prompt_template_encode_start_idx


@pytest.mark.parametrize("make", [lambda: clip_tokenizer(700), lambda: t5_tokenizer(500), lambda: qwen_tokenizer(700)])
def test_a_saved_one_is_the_same(make: Any, tmp_path: Path) -> None:
    made = make()
    made.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert loaded(text).input_ids == made(text).input_ids
    assert loaded.model_max_length == made.model_max_length
