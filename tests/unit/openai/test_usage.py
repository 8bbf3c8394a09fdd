"""Tokens: those of the model's tokenizer, whichever files it comes in."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from checkpoint.networks import make_tokenizer, save_tokenizer
from imagegen.api.tensors import MAX_PROMPT_CHARACTERS
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
    for place in (folder, folder / "tokenizer", folder / "older"):
        counter = TokenCounter.load(str(place))
        assert counter is not None
        assert asyncio.run(counter.count(prompt)) == expected


def test_a_long_prompt_does_not_hold_up_the_event_loop(folder: Path) -> None:
    """A tenth of a second of counting; the loop would come to its turn twice if the lock of Python were kept."""
    counter = TokenCounter.load(str(folder))
    assert counter is not None

    async def turns_meanwhile() -> int:
        counting = asyncio.create_task(counter.count("🐈" * MAX_PROMPT_CHARACTERS))
        turns = 0
        while not counting.done():
            await asyncio.sleep(0.001)
            turns += 1
        return turns

    assert asyncio.run(turns_meanwhile()) > 5


@pytest.mark.parametrize("place", ["", "/nowhere", "no one/has this!", "some/model-that-is-not-here"])
def test_without_a_tokenizer_nothing_is_counted(place: str) -> None:
    assert TokenCounter.load(place) is None


def test_the_rule() -> None:
    assert usage(text_tokens=3, input_images=2, images=4, size="128x100") == {
        "input_tokens": 3 + 2 * 8 * 7,
        "input_tokens_details": {"text_tokens": 3, "image_tokens": 2 * 8 * 7},
        "output_tokens": 4 * 8 * 7,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": 4 * 8 * 7},
        "total_tokens": 3 + 6 * 8 * 7,
    }
