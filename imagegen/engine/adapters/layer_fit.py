"""Fits a pair of matrices to the layer that it is for: shapes, scale, dtype."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from imagegen.engine.adapters.adapter import LowRank
from imagegen.engine.adapters.adapter_file import AdapterFile

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True, eq=False)
class Pair:
    """Two matrices of a file for one layer.

    Attributes:
        down: [rank, in] or [rank, in, height, width], float32.
        up: [out, rank] or [out, rank, 1, 1], float32.
        key: of `down` in the file, for messages.
    """

    down: torch.Tensor
    up: torch.Tensor
    key: str


def fitted(file: AdapterFile, pair: Pair, layer: Any, scale: float) -> LowRank:
    """The pair as the layer needs it, scaled, in float32.

    A pair for a linear layer may be written as one for a 1x1 convolution, and the other way round: models have either
    in the same place, and older trainers did not tell them apart.

    Args:
        file: for messages.
        pair: what the file has.
        layer: the module in the component.
        scale: goes into `up`.

    Raises:
        AdapterError: the layer is of a kind that takes no LoRA, or of other widths: the file was made for another base
            model.
    """
    match layer:
        case nn.Conv2d(groups=1):
            outputs, inputs = layer.out_channels, layer.in_channels
            down_shape: tuple[int, ...] = (pair.down.shape[0], inputs, *layer.kernel_size)
            up_shape: tuple[int, ...] = (outputs, pair.up.shape[1], 1, 1)
        case nn.Module(in_features=int(inputs), out_features=int(outputs)):
            down_shape, up_shape = (pair.down.shape[0], inputs), (outputs, pair.up.shape[1])
        case _:
            raise file.refusal(
                pair.key, f"is for a layer of the kind {type(layer).__name__}, where LoRA is not supported"
            )
    if _without_pixels(pair.down) != _without_pixels(down_shape) or _without_pixels(pair.up) != _without_pixels(
        up_shape
    ):
        raise file.refusal(
            pair.key,
            f"and its other half have the shapes {list(pair.down.shape)} and {list(pair.up.shape)}, but this model's "
            f"layer needs {list(down_shape)} and {list(up_shape)}: it was made for another base model",
        )
    up = pair.up.reshape(up_shape)
    return LowRank(pair.down.reshape(down_shape), up if scale == 1 else up * scale)


def stored(pair: LowRank, layer: Any, component: Any) -> LowRank:
    """The pair in the dtype that the layer computes in, contiguous, with memory of its own."""
    weight_dtype = getattr(getattr(layer, "weight", None), "dtype", None)
    # A quantized layer keeps its weights as integers or in 8 bits, and computes in its model's dtype.
    dtype = weight_dtype if weight_dtype in _DTYPES else component.dtype
    return LowRank(_own(pair.down, dtype), _own(pair.up, dtype))


def _own(matrix: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return matrix.to(dtype, memory_format=torch.contiguous_format, copy=True)


def _without_pixels(shape: torch.Tensor | tuple[int, ...]) -> tuple[int, ...]:
    """A shape without a kernel of 1x1."""
    sizes = tuple(shape.shape) if isinstance(shape, torch.Tensor) else shape
    return sizes[:2] if len(sizes) == 4 and sizes[2:] == (1, 1) else sizes
