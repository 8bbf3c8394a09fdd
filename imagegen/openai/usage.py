"""What a request used, in tokens.

- Text tokens: those of the prompt in the model's own tokenizer, without begin and end marks, not cut to what the text
  encoder reads.
- Image tokens: one for each 16x16 pixels of an image as it is generated, parts of such a square rounded up: each image
  of the response counts as output, each input image, reference and control image (as if brought to the same size) as
  input. A mask counts nothing.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

_PATCH_PX = 16
_LONG_CHARACTERS = 2_000  # a millisecond or so of the event loop
# OpenAI's CLIP, simple_tokenizer.py
_CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class TokenCounter:
    """Counts the tokens of prompts.

    Args:
        tokenizer: of the model's text encoder.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, source: str) -> TokenCounter | None:
        """From a tokenizer's folder, a checkpoint's folder, or a hub checkpoint in the local cache; None where
        there is none that can be read (tokenizer.json, or CLIP's vocab.json and merges.txt)."""
        for folder in _folders(source):
            whole, words, merges = (folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt"))
            if whole.is_file():
                tokenizer = Tokenizer.from_file(str(whole))
                tokenizer.no_truncation()
                tokenizer.no_padding()
                return cls(tokenizer)
            if words.is_file() and merges.is_file():
                return cls(_clip(words, merges))
        return None

    async def count(self, prompt: str) -> int:
        """How many tokens `prompt` has."""
        if len(prompt) <= _LONG_CHARACTERS:
            return self._count(prompt)
        return await asyncio.to_thread(self._count, prompt)

    def _count(self, prompt: str) -> int:
        # Of a batch, since `encode` keeps the lock of Python until it is done, and the event loop from running with it.
        (encoding,) = self._tokenizer.encode_batch_fast([prompt], add_special_tokens=False)
        return len(encoding.ids)


def usage(text_tokens: int, input_images: int, images: int, size: str) -> dict[str, Any]:
    """OpenAI's usage object.

    Args:
        text_tokens: of the prompt.
        input_images: how many came with the request.
        images: how many were generated.
        size: "WxH" of each, in pixels.
    """
    width, height = (int(side) for side in size.split("x"))
    patches = -(-width // _PATCH_PX) * -(-height // _PATCH_PX)
    image_tokens, output_tokens = input_images * patches, images * patches
    return {
        "input_tokens": text_tokens + image_tokens,
        "input_tokens_details": {"text_tokens": text_tokens, "image_tokens": image_tokens},
        "output_tokens": output_tokens,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": output_tokens},
        "total_tokens": text_tokens + image_tokens + output_tokens,
    }


def _folders(source: str) -> list[Path]:
    folder = Path(source)
    if not folder.is_dir() and not source.startswith((".", "/", "~")):
        from huggingface_hub import try_to_load_from_cache  # slow to import, and seldom needed

        try:
            found = try_to_load_from_cache(source, "model_index.json")
        except ValueError:  # not a hub id
            found = None
        folder = Path(found).parent if isinstance(found, str) else folder
    return [folder, folder / "tokenizer"]


def _clip(words: Path, merges: Path) -> Tokenizer:
    """CLIP's tokenizer from the two files that older checkpoints hold."""
    pairs = [line.split() for line in merges.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    model = models.BPE(
        vocab=json.loads(words.read_text(encoding="utf-8")),
        merges=[(left, right) for left, right in (pair for pair in pairs if len(pair) == 2)],
        end_of_word_suffix="</w>",
        unk_token="<|endoftext|>",
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CLIP_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.add_special_tokens(["<|startoftext|>", "<|endoftext|>"])
    return tokenizer
