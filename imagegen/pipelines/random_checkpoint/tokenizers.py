"""Tokenizers of the published kinds and sizes whose words are made up: no files are needed.

Any text becomes about as many tokens as with the published vocabulary: words of the Latin alphabet are cut into pieces
of up to four letters.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterable, Iterator
from typing import Any

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer, Qwen2Tokenizer, T5Tokenizer

_CLIP_TOKENS = 77  # of a text, with start and end
_T5_TOKENS = 512
_QWEN_TOKENS = 131072
_START, _END = "<|startoftext|>", "<|endoftext|>"
_QWEN_SPECIAL = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
    *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
]
"""In the order of their ids, from the first after the plain tokens: configurations refer to them."""
_TEMPLATE_WORDS = [
    *("system", "Describe", "Ġthe", "Ġimage", "Ġby", "Ġdetailing", "Ġcolor", "Ġshape", "Ġsize"),
    *("Ġtexture", "Ġquantity", "Ġtext", "Ġspatial", "Ġrelationships", "Ġof", "Ġobjects", "Ġand", "Ġbackground"),
    *("user", "assistant"),
]
"""Of Qwen-Image's prompt template, whose first 34 tokens the pipeline drops: each is one token, as in the real one."""
_PAIRS = ["".join(pair) for pair in itertools.product(string.ascii_lowercase, repeat=2)]
_FOURS = len(_PAIRS) ** 2
_STRIDE = 282429  # no common factor with `_FOURS`: every word of four letters once, in an order that spreads them


def clip_tokenizer(tokens: int, pad_token: str = _END) -> Any:
    """CLIP's byte-pair tokenizer with `tokens` tokens, the last two of which start and end a text."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    ends = [f"{letter}</w>" for letter in letters]
    merges = list(itertools.islice(_clip_merges(), tokens - 2 * len(letters) - 2))
    vocabulary = [*letters, *ends, *map("".join, merges), _START, _END]
    tokenizer: Any = CLIPTokenizer  # its types do not know pairs
    return tokenizer(vocab=_ids(vocabulary), merges=merges, pad_token=pad_token, model_max_length=_CLIP_TOKENS)


def t5_tokenizer(pieces: int) -> Any:
    """T5's unigram tokenizer with `pieces` pieces, and after them its 100 sentinels."""
    singles = [character for character in map(chr, range(256)) if character.isprintable() and character != " "]
    scored = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -12.0) for letter in singles)]
    for word in _words():
        scored += [(f"▁{word}", -9.0), (word, -10.0)]
        if len(scored) >= pieces:
            break
    tokenizer: Any = T5Tokenizer
    return tokenizer(vocab=scored[:pieces], model_max_length=_T5_TOKENS)


def qwen_tokenizer(tokens: int) -> Any:
    """Qwen's byte-pair tokenizer with `tokens` plain tokens, and after them its special ones."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    known = set(letters)
    merges: list[tuple[str, str]] = []
    for pair in itertools.chain(_template_merges(), _qwen_merges()):
        if len(known) == tokens:
            break
        if (joined := "".join(pair)) not in known:
            known.add(joined)
            merges.append(pair)
    tokenizer: Any = Qwen2Tokenizer
    return tokenizer(
        vocab=_ids([*letters, *map("".join, merges)]),
        merges=merges,
        additional_special_tokens=_QWEN_SPECIAL,
        model_max_length=_QWEN_TOKENS,
    )


def _ids(tokens: Iterable[str]) -> dict[str, int]:
    return {token: index for index, token in enumerate(tokens)}


def _fours() -> Iterator[tuple[str, str]]:
    """Every word of four letters, as two pairs of letters."""
    for number in range(_FOURS):
        first, second = divmod(number * _STRIDE % _FOURS, len(_PAIRS))
        yield _PAIRS[first], _PAIRS[second]


def _words() -> Iterator[str]:
    yield from _PAIRS
    yield from map("".join, _fours())


def _clip_merges() -> Iterator[tuple[str, str]]:
    for pair in _PAIRS:
        yield from ((pair[:1], pair[1:]), (pair[:1], f"{pair[1:]}</w>"))
    for left, right in _fours():
        yield from ((left, right), (left, f"{right}</w>"))


def _qwen_merges() -> Iterator[tuple[str, str]]:
    for pair in _PAIRS:
        yield from ((pair[:1], pair[1:]), ("Ġ", pair))
    for left, right in _fours():
        yield from ((left, right), (f"Ġ{left}", right))


def _template_merges() -> list[tuple[str, str]]:
    """What makes each word of the template one token, whatever is merged later."""
    merges: list[tuple[str, str]] = []
    for word in _TEMPLATE_WORDS:
        pieces = list(word)
        for pair in merges:
            pieces = _merged(pieces, pair)
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces = _merged(pieces, merges[-1])
    return merges


def _merged(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    """The pieces, in which each occurrence of the pair is one."""
    at = 0
    while at < len(pieces) - 1:
        if (pieces[at], pieces[at + 1]) == pair:
            pieces[at : at + 2] = ["".join(pair)]
        at += 1
    return pieces
