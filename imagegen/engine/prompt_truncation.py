"""Notices where a pipeline cuts a prompt, and how much: in its tokenizers, and in what it keeps of their tokens."""

from __future__ import annotations

from typing import Any

import torch

from imagegen.engine.host_tensor import HostTensor
from imagegen.engine.module_proxy import ModuleProxy

_CPU = torch.device("cpu")
_SPECIAL_TOKENS = 2  # begin and end, of which tokenizers add one or both


class PromptTruncation:
    """Watches the tokenizers of one image's pipeline. On the device thread.

    Args:
        prompt, negative_prompt: as in the request.
        max_sequence_length: tokens that the pipeline keeps of each prompt, where its call has such an argument.
    """

    def __init__(self, prompt: str, negative_prompt: str | None, max_sequence_length: int | None) -> None:
        self._prompts = {"prompt": prompt} | ({"negative_prompt": negative_prompt} if negative_prompt else {})
        self._kept = max_sequence_length
        self._warnings: dict[str, None] = {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """One for each prompt and tokenizer that cuts it."""
        return tuple(self._warnings)

    def read(self, tokenizer: Any, name: str, text: str, max_length: int, add_special_tokens: bool) -> None:
        """A tokenizer is about to read a text, of which it keeps `max_length` tokens.

        Args:
            tokenizer: the real one.
            name: of the pipeline's attribute.
            text: as the pipeline hands it over: cleaned, or in a template.
            max_length: in tokens.
            add_special_tokens: whether begin and end count too.
        """
        fits_in = min(max_length, self._kept or max_length)
        if len(text.encode()) <= fits_in - _SPECIAL_TOKENS:  # a token has a byte or more
            return
        tokens = _count(tokenizer, text, add_special_tokens)
        if tokens > max_length:
            self._cut(text, tokens, name, max_length)
        elif self._kept is not None and max_length > self._kept:  # a template, without which the rest is cut later
            tokens = _count(tokenizer, self._prompts[self._field(text)], False)
            if tokens > self._kept:
                self._cut(text, tokens, name, self._kept)

    def _cut(self, text: str, tokens: int, name: str, length: int) -> None:
        warning = (
            f"{self._field(text)}: {tokens - length} of {tokens} tokens are cut; of {name} the model reads {length}"
        )
        self._warnings[warning] = None

    def _field(self, text: str) -> str:
        """Which prompt a text is: the negative one when it holds that alone."""
        seen = _plain(text)
        found = [field for field, prompt in self._prompts.items() if _plain(prompt) in seen]
        return found[0] if found else "prompt"


class WatchedTokenizer(ModuleProxy):
    """Stands in for one tokenizer of one image's pipeline.

    Args:
        tokenizer: the real one.
        name: of the pipeline's attribute.
        truncation: told of each text that is read with a bound.
        device: where the text encoder is, which will be given the tokens.
    """

    __slots__ = ("_device", "_name", "_truncation")

    def __init__(self, tokenizer: Any, name: str, truncation: PromptTruncation, device: torch.device = _CPU) -> None:
        super().__init__(tokenizer)
        self._device = device
        self._name = name
        self._truncation = truncation

    def __call__(self, text: Any = None, *args: Any, **kwargs: Any) -> Any:
        """The tokenizer's own result."""
        if kwargs.get("truncation"):
            max_length = kwargs.get("max_length") or self._module.model_max_length
            special = kwargs.get("add_special_tokens", True)
            for each in (text,) if isinstance(text, str) else text or ():
                if isinstance(each, str):
                    self._truncation.read(self._module, self._name, each, max_length, special)
        tokens = self._module(text, *args, **kwargs)
        if self._device.type != "cpu":
            for part, value in tokens.items():
                if isinstance(value, torch.Tensor):
                    tokens[part] = value.as_subclass(HostTensor)
        return tokens

    def __len__(self) -> int:
        """The size of its vocabulary."""
        return len(self._module)


def _count(tokenizer: Any, text: str, add_special_tokens: bool) -> int:
    return len(tokenizer(text, add_special_tokens=add_special_tokens, verbose=False).input_ids)


def _plain(text: str) -> str:
    """Without what pipelines change when they clean a text: case and blanks."""
    return "".join(text.lower().split())
