"""Networks whose forwards are timed with adapters, what they are called with, and random adapters for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxTransformer2DModel, UNet2DConditionModel
from torch import nn

from imagegen.engine.adapters.adapter import LowRank
from imagegen.engine.adapters.adapter_table import ComponentAdapter

LAYERS = (
    *("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
    *("net.0.proj", "net.2", "proj_mlp", "proj_out"),
)
"""What an adapter is for, by the ends of names: the attention and feed-forward layers of transformer blocks."""

_BLOCK = "transformer_blocks."  # the network's own proj_out is in none
_TEXT_TOKENS = 77  # of CLIP
_FLUX_WIDTH = 512
_FLUX_TEXT_WIDTH = 4096 * _FLUX_WIDTH // 3072  # of T5, as many times narrower as everything else
_FLUX_POOLED_WIDTH = 768 * _FLUX_WIDTH // 3072
_FLUX_IMAGE_SIDE, _FLUX_TEXT_TOKENS = 8, 32  # of the image tokens; a prompt of a sentence or two
_FLUX_CHANNELS = 64
_STRENGTH = 0.3
_SIDES_PX = (64, 128)  # of the bundled checkpoint


@dataclass(frozen=True)
class TimedNetwork:
    """A denoiser.

    Attributes:
        title: for tables.
        make: the network itself, in float32.
        inputs: keyword arguments of a forward of so many rows.
        pixels: of each row.
    """

    title: str
    make: Callable[[], nn.Module]
    inputs: Callable[[int], dict[str, Any]]
    pixels: int


def timed_networks(checkpoint: Path) -> dict[str, TimedNetwork]:
    """A Flux of 33 million random parameters, and the UNet of a Stable Diffusion checkpoint at two sizes; by name.

    Args:
        checkpoint: folder of the latter.
    """
    flux = TimedNetwork("Flux-shaped, 33 M", flux_shaped, flux_inputs, (_FLUX_IMAGE_SIDE * 16) ** 2)
    load = partial(UNet2DConditionModel.from_pretrained, checkpoint, subfolder="unet")
    scale = 2 ** (len(UNet2DConditionModel.load_config(checkpoint, subfolder="vae")["block_out_channels"]) - 1)
    unets = {
        f"sd-{side}": TimedNetwork(
            f"bundled SD, {side}x{side}", load, partial(unet_inputs, checkpoint, side // scale), side * side
        )
        for side in _SIDES_PX
    }
    return {"flux": flux, **unets}


def flux_shaped() -> nn.Module:
    """Flux with the proportions of its widths, two double blocks and three single ones instead of 19 and 38."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network: nn.Module = FluxTransformer2DModel(
            num_layers=2,
            num_single_layers=3,
            num_attention_heads=_FLUX_WIDTH // 128,
            attention_head_dim=128,
            in_channels=_FLUX_CHANNELS,
            joint_attention_dim=_FLUX_TEXT_WIDTH,
            pooled_projection_dim=_FLUX_POOLED_WIDTH,
            guidance_embeds=True,
        )
    return network.eval()


def flux_inputs(rows: int) -> dict[str, Any]:
    """Of a Flux-shaped network: an image of 128x128 pixels and a short prompt a row."""
    side = _FLUX_IMAGE_SIDE
    ids = torch.zeros(side, side, 3)
    ids[..., 1], ids[..., 2] = torch.arange(side)[:, None], torch.arange(side)[None]
    return {
        "hidden_states": torch.randn(rows, side * side, _FLUX_CHANNELS),
        "encoder_hidden_states": torch.randn(rows, _FLUX_TEXT_TOKENS, _FLUX_TEXT_WIDTH),
        "pooled_projections": torch.randn(rows, _FLUX_POOLED_WIDTH),
        "timestep": torch.full((rows,), 0.5),
        "guidance": torch.full((rows,), 3.5),
        "img_ids": ids.flatten(0, 1),
        "txt_ids": torch.zeros(_FLUX_TEXT_TOKENS, 3),
        "return_dict": False,
    }


def unet_inputs(checkpoint: Path, side: int, rows: int) -> dict[str, Any]:
    """Of a Stable Diffusion UNet, for latents of side x side."""
    config = UNet2DConditionModel.load_config(checkpoint, subfolder="unet")
    return {
        "sample": torch.randn(rows, config["in_channels"], side, side),
        "timestep": torch.tensor(500),
        "encoder_hidden_states": torch.randn(rows, _TEXT_TOKENS, config["cross_attention_dim"]),
        "return_dict": False,
    }


def random_adapter(network: nn.Module, rank: int, seed: int) -> ComponentAdapter:
    """An adapter of random weights for the attention and feed-forward layers of a network."""
    generator = torch.Generator().manual_seed(seed)
    layers = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Linear) and _BLOCK in name and name.endswith(LAYERS):
            down = torch.randn(rank, layer.in_features, generator=generator) / layer.in_features**0.5
            up = torch.randn(layer.out_features, rank, generator=generator) / rank**0.5
            layers[name] = LowRank(_STRENGTH * down, _STRENGTH * up)
    return ComponentAdapter(f"{seed}", layers)
