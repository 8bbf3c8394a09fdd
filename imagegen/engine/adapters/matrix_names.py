"""The names of a low-rank pair's two matrices and of its alpha, as each trainer writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

# PEFT: layer.lora_A.weight, or with the adapter's name in between; kohya: layer.lora_down.weight; diffusers:
# layer.lora.down.weight, layer.lora_linear_layer.down.weight; and as its attention processors had them,
# to_q_lora.down.weight. xlabs counts: qkv_lora1.down.weight.
_MATRIX = re.compile(
    r"(?P<layer>.+?)(?:"
    r"\.lora_(?P<peft>[AB])(?:\.[^.]+)?"
    r"|\.lora_(?P<kohya>down|up)"
    r"|\.lora(?:_linear_layer)?\.(?P<diffusers>down|up)"
    r"|_lora(?P<number>\d?)\.(?P<processor>down|up)"
    r")\.weight"
)
_HALVES: dict[str, Half] = {"A": "down", "down": "down", "B": "up", "up": "up"}

Half = Literal["down", "up"]


@dataclass(frozen=True)
class MatrixName:
    """What a matrix's name says.

    Attributes:
        layer: the layer's name, before any translation.
        half: which of the pair it is.
        of_processor: it is named as diffusers' attention processors did, with `to_out` for `to_out.0`.
    """

    layer: str
    half: Half
    of_processor: bool = False


def matrix_name(key: str) -> MatrixName | None:
    """Take a key apart; None when it is not that of a matrix of a pair."""
    found = _MATRIX.fullmatch(key)
    if found is None:
        return None
    half = found["peft"] or found["kohya"] or found["diffusers"] or found["processor"]
    return MatrixName(found["layer"] + (found["number"] or ""), _HALVES[half], found["processor"] is not None)


def alpha_layer(key: str) -> str | None:
    """The name of the layer whose alpha this is; None when it is none."""
    return key.removesuffix(".alpha") if key.endswith(".alpha") else None
