"""What a forward of SD 1.5, SDXL, Flux and Qwen-Image works on: published shapes with random weights, no downloads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKLQwenImage

from imagegen.pipelines.denoisers import DENOISERS
from imagegen.pipelines.random_checkpoint.architecture import Architecture, Network
from imagegen.pipelines.random_checkpoint.published import ARCHITECTURES

Inputs = Callable[[int, int, torch.device, torch.dtype], dict[str, Any]]

_TEXT_TOKENS = 77  # of CLIP
_FLUX_TEXT_TOKENS = 512  # of T5, the pipeline's default
_QWEN_TEXT_TOKENS = 64  # a prompt of a sentence or two, padded to the engine's bucket
_PIXELS_PER_LATENT = 8


@dataclass(frozen=True)
class Shape:
    """One model.

    Attributes:
        architecture: its networks.
        inputs: (rows, side in pixels, device, dtype) to the denoiser's keyword arguments.
        rows_per_image: that the denoiser computes at a step: 2 with classifier-free guidance.
        calls_per_step: of the denoiser, that share these rows.
        steps: of an image, the pipeline's usual number.
    """

    architecture: Architecture
    inputs: Inputs
    rows_per_image: int
    calls_per_step: int
    steps: int

    @property
    def denoiser(self) -> Network:
        """The network that every step calls."""
        return next(self.architecture.networks[name] for name in DENOISERS if name in self.architecture.networks)

    def make_denoiser(self, device: torch.device | str, dtype: torch.dtype) -> torch.nn.Module:
        """With random weights; on the device `meta` without any."""
        return _made(self.denoiser, device, dtype)

    def make_vae(self, device: torch.device | str, dtype: torch.dtype) -> Any:
        """With random weights."""
        return _made(self.architecture.networks["vae"], device, dtype)

    def latents(self, images: int, side_px: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        """[images, channels, side/8, side/8] for the VAE; [images, channels, 1, side/8, side/8] for one of videos."""
        vae = self.architecture.networks["vae"]
        side = side_px // _PIXELS_PER_LATENT
        if issubclass(vae.model, AutoencoderKLQwenImage):
            return torch.randn(images, _QWEN_CHANNELS, 1, side, side, device=device, dtype=dtype)
        return torch.randn(images, vae.config["latent_channels"], side, side, device=device, dtype=dtype)


def _made(network: Network, device: torch.device | str, dtype: torch.dtype) -> torch.nn.Module:
    """The network in `dtype` from the start: Flux in float32 first would not fit into 80 GB."""
    with torch.device(device), _made_in(dtype):
        model: torch.nn.Module = network.model(**network.config)
    return model.eval()


@contextmanager
def _made_in(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def sd_inputs(width: int) -> Inputs:
    """Of Stable Diffusion 1.5, whose text states have this width."""

    def inputs(rows: int, side_px: int, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
        side = side_px // _PIXELS_PER_LATENT
        return {
            "sample": torch.randn(rows, 4, side, side, device=device, dtype=dtype),
            "timestep": torch.full((rows,), 500, device=device),
            "encoder_hidden_states": torch.randn(rows, _TEXT_TOKENS, width, device=device, dtype=dtype),
        }

    return inputs


def sdxl_inputs(width: int, pooled: int) -> Inputs:
    """Of SDXL, with the widths of text states and of pooled ones."""
    plain = sd_inputs(width)

    def inputs(rows: int, side_px: int, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
        added = {
            "text_embeds": torch.randn(rows, pooled, device=device, dtype=dtype),
            "time_ids": torch.full((rows, 6), float(side_px), device=device, dtype=dtype),
        }
        return plain(rows, side_px, device, dtype) | {"added_cond_kwargs": added}

    return inputs


def flux_inputs(channels: int, width: int, pooled: int, text_tokens: int) -> Inputs:
    """Of Flux, with the channels of its patches, the widths of text states, of pooled ones, and the text's length."""

    def inputs(rows: int, side_px: int, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
        side = side_px // (2 * _PIXELS_PER_LATENT)  # latents go in as 2x2 patches
        places = torch.zeros(side, side, 3, device=device, dtype=dtype)
        places[..., 1] = torch.arange(side, device=device, dtype=dtype)[:, None]
        places[..., 2] = torch.arange(side, device=device, dtype=dtype)[None, :]
        return {
            "hidden_states": torch.randn(rows, side * side, channels, device=device, dtype=dtype),
            "encoder_hidden_states": torch.randn(rows, text_tokens, width, device=device, dtype=dtype),
            "pooled_projections": torch.randn(rows, pooled, device=device, dtype=dtype),
            "timestep": torch.full((rows,), 0.5, device=device, dtype=dtype),
            "guidance": torch.full((rows,), 3.5, device=device, dtype=dtype),
            "img_ids": places.reshape(-1, 3),
            "txt_ids": torch.zeros(text_tokens, 3, device=device, dtype=dtype),
        }

    return inputs


def qwen_inputs(channels: int, width: int, text_tokens: int) -> Inputs:
    """Of Qwen-Image, with the channels of its patches, the width of text states and the text's padded length."""

    def inputs(rows: int, side_px: int, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
        side = side_px // (2 * _PIXELS_PER_LATENT)
        return {
            "hidden_states": torch.randn(rows, side * side, channels, device=device, dtype=dtype),
            "encoder_hidden_states": torch.randn(rows, text_tokens, width, device=device, dtype=dtype),
            "encoder_hidden_states_mask": torch.ones(rows, text_tokens, device=device, dtype=torch.bool),
            "timestep": torch.full((rows,), 0.5, device=device, dtype=dtype),
            "img_shapes": [[(1, side, side)]] * rows,
        }

    return inputs


_QWEN_CHANNELS = 16  # of latents

SHAPES = {
    "SD 1.5": Shape(ARCHITECTURES["sd15"], sd_inputs(768), 2, 1, 50),
    "SDXL": Shape(ARCHITECTURES["sdxl"], sdxl_inputs(2048, 1280), 2, 1, 30),
    "Flux": Shape(ARCHITECTURES["flux"], flux_inputs(64, 4096, 768, _FLUX_TEXT_TOKENS), 1, 1, 28),
    "Qwen-Image": Shape(ARCHITECTURES["qwen-image"], qwen_inputs(64, 3584, _QWEN_TEXT_TOKENS), 2, 2, 50),
}
