"""Tokens: those of the model's tokenizer, whichever files it comes in."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tokenizers import Tokenizer

from checkpoint.networks import make_tokenizer, save_tokenizer
from imagegen.api.limits import MAX_PROMPT_CHARACTERS
from imagegen.openai.usage import TokenCounter, usage

PROMPTS = [
    "a red circle",
    "",
    " ",
    "It's 2024, don't  PANIC!\nÜber-Straße 42km/h <|startoftext|> 猫 🐈",
    "word " * 3000,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint's, with the tokenizer in both forms."""
    checkpoint = tmp_path_factory.mktemp("checkpoint")
    save_tokenizer(make_tokenizer(("red", "circle")), checkpoint / "tokenizer")
    model = json.loads((checkpoint / "tokenizer" / "tokenizer.json").read_text())["model"]
    older = checkpoint / "older"
    older.mkdir()
    (older / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (older / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    return checkpoint


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_count_is_the_tokenizers_own(folder: Path, prompt: str) -> None:
    expected = len(make_tokenizer(("red", "circle"))(prompt, add_special_tokens=False, truncation=False)["input_ids"])
    for source in (folder, folder / "tokenizer", folder / "older"):
        counter = TokenCounter.load(str(source))
        assert counter is not None
        assert asyncio.run(counter.count(prompt)) == expected


class SlowTokenizer:
    """Counts only once the event loop has had a turn. As `encode` would keep Python's lock, it has none."""

    def __init__(self, had_a_turn: threading.Event) -> None:
        self._had_a_turn = had_a_turn

    def encode_batch_fast(self, prompts: list[str], *, add_special_tokens: bool) -> list[Any]:
        assert self._had_a_turn.wait(60)
        return [SimpleNamespace(ids=list(prompt)) for prompt in prompts]


def test_a_long_prompt_does_not_hold_up_the_event_loop() -> None:
    """A tenth of a second of counting, in which other requests would not be served."""

    async def count() -> int:
        had_a_turn = threading.Event()
        counter = TokenCounter(cast(Tokenizer, SlowTokenizer(had_a_turn)))
        asyncio.get_running_loop().call_later(0, had_a_turn.set)
        return await counter.count("x" * MAX_PROMPT_CHARACTERS)

    assert asyncio.run(count()) == MAX_PROMPT_CHARACTERS


@pytest.mark.parametrize("source", ["", "/nowhere", "no one/has this!", "some/model-that-is-not-here"])
def test_without_a_tokenizer_nothing_is_counted(source: str) -> None:
    assert TokenCounter.load(source) is None


def test_the_rule() -> None:
    assert usage(text_tokens=3, input_images=2, images=4, size="128x100") == {
        "input_tokens": 3 + 2 * 8 * 7,
        "input_tokens_details": {"text_tokens": 3, "image_tokens": 2 * 8 * 7},
        "output_tokens": 4 * 8 * 7,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": 4 * 8 * 7},
        "total_tokens": 3 + 6 * 8 * 7,
    }
