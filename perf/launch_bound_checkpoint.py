"""A Stable Diffusion checkpoint whose forward costs nearly the same for 2 rows as for 16, with random weights.

Many thin layers on few numbers: the time goes into launching operations rather than arithmetic, as it does on a GPU
with a small batch. For images of 64x64 pixels.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel

from checkpoint.random_checkpoint import random_pipeline

SIDE_PX = 64
LAYERS = 8
"""Layers of each thin stage; a forward of one row then takes about 10 ms on one core of 2024."""

_LATENT_SIDE = SIDE_PX // 8
_SEED = 64
_REPEATS = 15
_WARMUP_REPEATS = 3


def make_launch_bound_checkpoint(folder: Path, layers: int = LAYERS) -> StableDiffusionPipeline:
    """Write the checkpoint to the new folder `folder` and return its pipeline.

    Args:
        folder: where to.
        layers: layers of each thin stage, 1 or more; the forward's time is proportional.
    """
    pipeline = random_pipeline()
    torch.manual_seed(_SEED)
    pipeline.register_modules(unet=_thin_unet(layers, pipeline.text_encoder.config.hidden_size))
    pipeline.save_pretrained(folder)
    return pipeline


def measure_forwards(pipeline: Any, rows: Sequence[int], side_px: int = SIDE_PX) -> dict[int, float]:
    """Median seconds of one denoiser forward by number of rows, all sizes interleaved.

    Args:
        pipeline: with a `unet` that takes latents, a time and a text.
        rows: of the forwards.
        side_px: width and height of the images.
    """
    seconds: dict[int, list[float]] = {count: [] for count in rows}
    unet = pipeline.unet
    side = side_px // pipeline.vae_scale_factor
    with torch.inference_mode():
        for repeat in range(_WARMUP_REPEATS + _REPEATS):
            for count in rows:
                latents = torch.randn(count, unet.config.in_channels, side, side)
                tokens = pipeline.tokenizer.model_max_length
                text = torch.randn(count, tokens, unet.config.cross_attention_dim)
                started_s = time.perf_counter()
                unet(latents, torch.full((count,), 500), text)
                if repeat >= _WARMUP_REPEATS:
                    seconds[count].append(time.perf_counter() - started_s)
    return {count: statistics.median(values) for count, values in seconds.items()}


def _thin_unet(layers: int, text_width: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=_LATENT_SIDE,
        block_out_channels=(16, 16, 32),
        layers_per_block=(1, 1, layers),  # the many layers work on 2x2 latents
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        cross_attention_dim=text_width,
        attention_head_dim=8,
        norm_num_groups=8,
    )
