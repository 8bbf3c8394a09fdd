"""The low-rank pairs of a LoRA file by their names there: complete, finite, in float32, with alpha folded in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from imagegen.engine.adapters.adapter_file import AdapterFile
from imagegen.engine.adapters.matrix_names import alpha_layer, matrix_name

_DTYPES = {
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2,
    torch.float8_e5m2fnuz,
}


@dataclass(frozen=True)
class RawKeys:
    """What is known of a file's keys once its pairs have been looked at.

    Attributes:
        matrices: those of all halves of pairs.
        empty: of these, those of pairs that add nothing, since one half of them is all zeros.
        scaled: one of an alpha that was folded in and changes something; None when there is none.
    """

    matrices: frozenset[str]
    empty: frozenset[str]
    scaled: str | None


@dataclass
class _Pair:
    down: str | None = None
    up: str | None = None
    alpha: str | None = None


def raw_pairs(file: AdapterFile) -> tuple[dict[str, torch.Tensor], RawKeys]:
    """The pairs of a file as diffusers' converters are given them, and what is known of their keys.

    The tensors have the file's keys: the matrices, float32 and not those of the file itself, and for each pair with an
    alpha one that stands for none, its rank.

    Alpha / rank is folded in here, and not by diffusers: it does so for most formats, but leaves it out for some layers
    (the last one of Flux in kohya's format) and puts it elsewhere for others (Stable Diffusion's attention in kohya's
    format, if not all alphas are the same). An alpha that equals the rank means the same to all of its converters.

    Raises:
        AdapterError: half a pair, halves that do not fit, an alpha without a pair, a tensor that is part of none, one
            that is not of floating point, or one with NaN or infinity. Names the file and the key.
    """
    tensors: dict[str, torch.Tensor] = {}
    matrices: list[str] = []
    empty: list[str] = []
    scaled = None
    for down_key, up_key, alpha_key in _complete(file, _grouped(file)):
        down, down_is_zero = _matrix(file, down_key)
        up, up_is_zero = _matrix(file, up_key)
        rank = down.shape[0]
        if up.shape[1] != rank or rank == 0:
            raise file.refusal(
                up_key, f"has the shape {list(up.shape)}, which does not fit {list(down.shape)} of its other half"
            )
        if alpha_key is not None:
            alpha = _alpha(file, alpha_key)
            tensors[alpha_key] = torch.tensor(float(rank))
            if alpha != rank:
                up.mul_(alpha / rank)
                scaled = alpha_key
        tensors[down_key], tensors[up_key] = down, up
        matrices += (down_key, up_key)
        if down_is_zero or up_is_zero:
            empty += (down_key, up_key)
    return tensors, RawKeys(frozenset(matrices), frozenset(empty), scaled)


def _grouped(file: AdapterFile) -> Mapping[str, _Pair]:
    pairs: dict[str, _Pair] = {}
    for key in file.tensors:
        name = matrix_name(key)
        layer, role = (alpha_layer(key), "alpha") if name is None else (name.layer, name.half)
        if layer is None:
            raise file.refusal(key, "is no part of a LoRA")
        pair = pairs.setdefault(layer, _Pair())
        if (other := getattr(pair, role)) is not None:
            raise file.refusal(key, f"means the same as {other}")
        setattr(pair, role, key)
    return pairs


def _complete(file: AdapterFile, pairs: Mapping[str, _Pair]) -> Iterator[tuple[str, str, str | None]]:
    if not pairs:
        raise file.refusal("the file", "has no tensors")
    for pair in pairs.values():
        if pair.down is None or pair.up is None:
            alone = pair.down or pair.up or pair.alpha or ""
            raise file.refusal(alone, "lacks the other half of its pair")
        yield pair.down, pair.up, pair.alpha


def _matrix(file: AdapterFile, key: str) -> tuple[torch.Tensor, bool]:
    """A copy in float32, and whether it is all zeros."""
    tensor = file.tensors[key]
    if tensor.ndim < 2:
        raise file.refusal(key, f"has the shape {list(tensor.shape)}, which is no matrix")
    if tensor.dtype not in _DTYPES:
        raise file.refusal(key, f"has the dtype {_name(tensor.dtype)}; floating point is supported")
    matrix = tensor.to(torch.float32, copy=True)
    if matrix.numel() == 0:
        raise file.refusal(key, f"has the shape {list(tensor.shape)} and no elements")
    low, high = (float(end) for end in torch.aminmax(matrix))  # a tenth of the time that isfinite takes; NaN wins
    if not (float("-inf") < low and high < float("inf")):
        raise file.refusal(key, "has NaN or infinite elements")
    return matrix, low == high == 0


def _alpha(file: AdapterFile, key: str) -> float:
    tensor = file.tensors[key]
    if tensor.numel() != 1 or tensor.is_complex():
        raise file.refusal(key, f"has the shape {list(tensor.shape)}; an alpha is one number")
    alpha = float(tensor.to(torch.float64))
    if alpha - alpha != 0:  # NaN or infinite
        raise file.refusal(key, f"is {alpha}")
    return alpha


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
