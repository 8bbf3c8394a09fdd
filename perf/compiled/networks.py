"""Networks whose forwards are timed compiled: shaped as Flux and Qwen-Image, random weights, and the bundled UNet."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import QwenImageTransformer2DModel
from torch import nn

from perf.adapters.networks import TimedNetwork, timed_networks
from perf.gpu.shapes import qwen_inputs

_QWEN_WIDTH = 512
_QWEN_TEXT_WIDTH = 3584 * _QWEN_WIDTH // 3072 // 8 * 8
_QWEN_CHANNELS, _QWEN_TEXT_TOKENS = 64, 64
_QWEN_SIDE_PX = 128

_FEW = 1e-3  # of the largest value of an output: what other orders of additions make in float32

TRANSFORMERS = ("flux", "qwen")
BUNDLED_UNET = "sd-64"


def networks(checkpoint: Path) -> dict[str, TimedNetwork]:
    """What is timed, by name.

    Args:
        checkpoint: folder of the bundled one.
    """
    known = timed_networks(checkpoint)
    qwen = TimedNetwork("Qwen-shaped, 23 M", qwen_shaped, _qwen_inputs, _QWEN_SIDE_PX**2)
    unet = known[BUNDLED_UNET]
    as_called = TimedNetwork(unet.title, unet.make, partial(_as_the_pipeline, unet), unet.pixels)
    return {"flux": known["flux"], "qwen": qwen, BUNDLED_UNET: as_called}


def qwen_shaped() -> nn.Module:
    """Qwen-Image with the proportions of its widths and four blocks instead of 60."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network: nn.Module = QwenImageTransformer2DModel(
            num_layers=4,
            num_attention_heads=_QWEN_WIDTH // 128,
            attention_head_dim=128,
            in_channels=_QWEN_CHANNELS,
            joint_attention_dim=_QWEN_TEXT_WIDTH,
        )
    return network.eval()


def differences(title: str, output: torch.Tensor, expected: torch.Tensor) -> list[str]:
    """The fault of a forward whose output is not the eager one's, where it has it: one line, or none."""
    off = float((output - expected).abs().max() / expected.abs().max())
    return [] if off <= _FEW else [f"{title}: differs by {off:.1e} of the largest value"]


def _qwen_inputs(rows: int) -> dict[str, Any]:
    inputs = qwen_inputs(_QWEN_CHANNELS, _QWEN_TEXT_WIDTH, _QWEN_TEXT_TOKENS)
    return {**inputs(rows, _QWEN_SIDE_PX, torch.device("cpu"), torch.float32), "return_dict": False}


def _as_the_pipeline(unet: TimedNetwork, rows: int) -> dict[str, Any]:
    """With all that the pipeline of Stable Diffusion gives, so that a server finds the same package."""
    return {**unet.inputs(rows), "timestep_cond": None, "cross_attention_kwargs": None, "added_cond_kwargs": None}
