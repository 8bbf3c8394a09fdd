"""The architectures of Stable Diffusion 1.5, SDXL and Flux, written out: real shapes with random weights, no downloads.

Sources: `unet/config.json`, `transformer/config.json` and `vae/config.json` of stable-diffusion-v1-5, of
stabilityai/stable-diffusion-xl-base-1.0 and of black-forest-labs/FLUX.1-dev on the Hugging Face hub.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, UNet2DConditionModel

Inputs = Callable[[int, int, torch.device, torch.dtype], dict[str, Any]]

_TEXT_TOKENS = 77  # of CLIP
_FLUX_TEXT_TOKENS = 512  # of T5, the pipeline's default
_PIXELS_PER_LATENT = 8


@dataclass(frozen=True)
class Shape:
    """One model.

    Attributes:
        denoiser: its class.
        config: of the denoiser.
        inputs: (rows, side in pixels, device, dtype) to its keyword arguments.
        rows_per_image: of a forward: 2 with classifier-free guidance.
        vae: the autoencoder's configuration.
        vae_channels: of latents.
        steps: of an image, the pipeline's usual number.
    """

    denoiser: type[Any]
    config: Mapping[str, Any]
    inputs: Inputs
    rows_per_image: int
    vae: Mapping[str, Any]
    vae_channels: int
    steps: int

    def make_denoiser(self, device: torch.device | str, dtype: torch.dtype) -> torch.nn.Module:
        """With random weights; on the device `meta` without any."""
        with torch.device(device), _made_in(dtype):
            model: torch.nn.Module = self.denoiser(**self.config)
        return model.eval()

    def make_vae(self, device: torch.device | str, dtype: torch.dtype) -> AutoencoderKL:
        """With random weights."""
        with torch.device(device), _made_in(dtype):
            return AutoencoderKL(**self.vae).eval()

    def latents(self, images: int, side_px: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        """[images, channels, side/8, side/8], for the VAE."""
        side = side_px // _PIXELS_PER_LATENT
        return torch.randn(images, self.vae_channels, side, side, device=device, dtype=dtype)


@contextmanager
def _made_in(dtype: torch.dtype) -> Iterator[None]:
    """New weights have this dtype from the start: Flux in float32 first would not fit into 80 GB."""
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


_VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "sample_size": 512,
}
_FLUX_VAE = _VAE | {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}

_SD15: dict[str, Any] = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,  # heads, in spite of its name
}
_SDXL: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "transformer_layers_per_block": (1, 2, 10),
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
_FLUX: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": True,
    "axes_dims_rope": (16, 56, 56),
}

SHAPES = {
    "SD 1.5": Shape(UNet2DConditionModel, _SD15, sd_inputs(768), 2, _VAE, 4, 50),
    "SDXL": Shape(UNet2DConditionModel, _SDXL, sdxl_inputs(2048, 1280), 2, _VAE | {"sample_size": 1024}, 4, 30),
    "Flux": Shape(FluxTransformer2DModel, _FLUX, flux_inputs(64, 4096, 768, _FLUX_TEXT_TOKENS), 1, _FLUX_VAE, 16, 28),
}
