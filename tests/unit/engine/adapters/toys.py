"""A small network and adapters for it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from imagegen.engine.adapters.adapter import LowRank
from imagegen.engine.adapters.adapter_table import ComponentAdapter

WIDTH, CHANNELS, SIDE, TOKENS = 8, 4, 5, 3


class Toy(nn.Module):
    """A linear layer on tokens [rows, tokens, width] and a convolution on images [rows, channels, side, side]."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.conv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)

    def forward(self, tokens: torch.Tensor, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.relu(self.linear(tokens)), torch.relu(self.conv(image))


def adapter(seed: int, rank: int = 2, *, without_conv: bool = False) -> ComponentAdapter:
    """Random matrices for both layers."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) / 2

    layers = {"linear": LowRank(random(rank, WIDTH), random(WIDTH, rank))}
    if not without_conv:
        layers["conv"] = LowRank(random(rank, CHANNELS, 3, 3), random(CHANNELS, rank, 1, 1))
    return ComponentAdapter(f"digest of {seed}", layers)


def merged(network: Toy, scales: Mapping[ComponentAdapter, float]) -> Toy:
    """The network with adapters merged into its weights, as it is done for a single request."""
    other = Toy()
    other.load_state_dict(network.state_dict())
    with torch.no_grad():
        for each, scale in scales.items():
            for name, low_rank in each.layers.items():
                change = torch.tensordot(low_rank.up.flatten(1), low_rank.down, dims=([1], [0]))
                other.get_parameter(f"{name}.weight").add_(scale * change)
    return other


def inputs(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and image of so many rows."""
    generator = torch.Generator().manual_seed(rows)
    return (
        torch.randn(rows, TOKENS, WIDTH, generator=generator),
        torch.randn(rows, CHANNELS, SIDE, SIDE, generator=generator),
    )
