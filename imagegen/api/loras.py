"""The LoRA adapters that a request names, with their scales."""

from __future__ import annotations

from dataclasses import dataclass

from imagegen.api import values
from imagegen.api.errors import InvalidArgument
from imagegen.api.limits import MAX_LORA_NAME_CHARACTERS, MAX_LORA_SCALE
from imagegen.api.tensors import Arrays


@dataclass(frozen=True)
class LoraChoice:
    """One adapter of a request.

    Attributes:
        name: by which the server knows it; 1..256 characters.
        scale: how strongly it counts, -4..4; 0 not at all.
    """

    name: str
    scale: float = 1.0


def parse_loras(arrays: Arrays, most: int) -> tuple[LoraChoice, ...]:
    """The adapters in the inputs `lora` BYTES [-1] and `lora_scale` FP32 [-1]; scales that are not given are 1.

    Args:
        arrays: the inputs that are present, by public name.
        most: how many a request may name.

    Raises:
        InvalidArgument: names the input that breaks its rule, its value and what is allowed.
    """
    names = values.texts(arrays, "lora", most, MAX_LORA_NAME_CHARACTERS)
    scales = values.numbers(arrays, "lora_scale", most, -MAX_LORA_SCALE, MAX_LORA_SCALE)
    if len(scales) > len(names):
        raise InvalidArgument(
            "lora_scale", f"{len(scales)} scales for {len(names)} names in lora; one a name is allowed"
        )
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InvalidArgument(
                "lora", f"{values.shown(name)} is named twice; once is allowed, with the sum of scales"
            )
    return tuple(LoraChoice(name, scale) for name, scale in zip(names, (*scales, *[1.0] * len(names)), strict=False))
