"""A prompt that is cut is said so: for each tokenizer that cuts it, with how much, whichever prompt it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from imagegen.pipelines.checkpoint import describe_pipelines
from tests.unit import tiny_pipelines as tiny
from tests.unit.tiny_engine import SETTINGS, tiny_engine

LONG = "red cat " * 400  # 800 words, and as many tokens


def warnings(pipeline: Any, prompt: str, size: tuple[int, int] = (32, 32), **options: Any) -> tuple[str, ...]:
    described = replace(describe_pipelines(pipeline, SETTINGS, torch.device("cpu")), native_size=size)
    with tiny_engine(pipelines=described) as engine:
        return engine.generate(prompt, seed=1, num_inference_steps=1, **options).statistics.warnings


def test_a_prompt_that_fits_is_worth_no_warning() -> None:
    assert warnings(tiny.sdxl(), "a red cat", negative_prompt="a blue dog") == ()
    assert warnings(tiny.sdxl(), "cat " * 14) == (), "with begin and end just as many as are read"


def test_each_tokenizer_says_how_much_it_cuts() -> None:
    assert warnings(tiny.sdxl(), "cat " * 20, n=2) == (
        "prompt: 6 of 22 tokens are cut; of tokenizer the model reads 16",
        "prompt: 6 of 22 tokens are cut; of tokenizer_2 the model reads 16",
    )


def test_one_that_alone_cuts_is_named_alone() -> None:
    """Before, there was no warning as long as some tokenizer read it all."""
    assert warnings(tiny.flux(), "cat " * 20) == ("prompt: 6 of 22 tokens are cut; of tokenizer the model reads 16",)


def test_a_negative_prompt_that_is_cut_is_worth_a_warning() -> None:
    assert warnings(tiny.sd(), "a cat", negative_prompt="dog " * 20) == (
        "negative_prompt: 6 of 22 tokens are cut; of tokenizer the model reads 16",
    )
    both = warnings(tiny.sd(), "cat " * 15, negative_prompt="dog " * 20)
    assert [warning.partition(":")[0] for warning in both] == ["prompt", "negative_prompt"]


@pytest.mark.parametrize(
    ("make", "tokenizers"),
    [
        (tiny.sd3, ["tokenizer", "tokenizer_2", "tokenizer_3"]),
        (tiny.flux, ["tokenizer", "tokenizer_2"]),
        (tiny.pixart_sigma, ["tokenizer"]),
        (tiny.sana, ["tokenizer"]),
        (tiny.lumina2, ["tokenizer"]),
        (tiny.qwen_image, ["tokenizer"]),  # cuts what its tokenizer has read
    ],
)
def test_every_family_says_it(make: Callable[[], Any], tokenizers: list[str]) -> None:
    found = warnings(make(), LONG, size=(64, 64))
    assert [warning.partition(" of tokenizer")[2].split(" ")[0] for warning in found] == [
        name.removeprefix("tokenizer") for name in tokenizers
    ]
    assert all(warning.startswith("prompt: ") for warning in found)
