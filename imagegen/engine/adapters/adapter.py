"""A LoRA adapter as it was read: for each layer that it touches, two small matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch


class AdapterError(ValueError):
    """A file holds no adapter that this model can carry, whole. The message names the file, and the key in it."""


@dataclass(frozen=True, eq=False)
class LowRank:
    """What an adapter adds to one layer: layer(x) + scale * up(down(x)).

    Attributes:
        down: [rank, in] of a linear layer; [rank, in, height, width] of a convolution, which has the layer's stride,
            padding and dilation.
        up: [out, rank]; [out, rank, 1, 1] of a convolution. Alpha / rank is in it.
    """

    down: torch.Tensor
    up: torch.Tensor

    @property
    def rank(self) -> int:
        """Of both."""
        return self.down.shape[0]


@dataclass(frozen=True, eq=False)
class Adapter:
    """A whole adapter, in the dtypes of the layers that it is for.

    Attributes:
        digest: of the file's content.
        components: for each component of the pipeline that it touches, such as unet or text_encoder, its layers by
            their names there.
        warnings: what a client should know though it is no error.
    """

    digest: str
    components: Mapping[str, Mapping[str, LowRank]]
    warnings: tuple[str, ...] = ()

    def matrices(self) -> Iterator[torch.Tensor]:
        """All of them, in a fixed order."""
        for layers in self.components.values():
            for layer in layers.values():
                yield layer.down
                yield layer.up

    @property
    def size_bytes(self) -> int:
        """Of all matrices."""
        return sum(matrix.nbytes for matrix in self.matrices())

    @property
    def rank(self) -> int:
        """The largest of any layer."""
        return max(layer.rank for layers in self.components.values() for layer in layers.values())


Pairs = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""Layers in the form in which they are packed into one buffer: (down, up) by name."""


def as_pairs(layers: Mapping[str, LowRank]) -> Pairs:
    """Layers for `imagegen.engine.packing.pack`."""
    return {name: (low_rank.down, low_rank.up) for name, low_rank in layers.items()}


def from_pairs(pairs: Pairs) -> dict[str, LowRank]:
    """The layers that `as_pairs` was given."""
    return {name: LowRank(*pair) for name, pair in pairs.items()}
