"""Fourth stage: the VAE's decoder alone, on whole images, with a little noise on the latents.

The first stage saw crops. Normalisation looks at the whole image, so the decoder has to see whole ones, and latents
as inexact as the denoiser makes them.
"""

from __future__ import annotations

from random import Random

import torch
from diffusers import AutoencoderKL

from checkpoint import data
from checkpoint.rates import ramp_and_cosine

STEPS = 1200
_SIDES = (128, 64, 128, 256, 128, 64, 128, 192)
_BATCHES = {64: 16, 128: 4, 192: 2, 256: 1}  # the same number of pixels, or nearly
_PEAK_RATE = 1e-3
_LATENT_NOISE = 0.08  # deviation; a latent channel's own is 1
_THING_WEIGHT = 3.0

Batch = tuple[torch.Tensor, torch.Tensor]


def batch(step: int, seed: int, scale: int = 1) -> Batch:
    """Batch `step`: images float32 [b, 3, h, w] in -1..1 and covers float32 [b, 1, h, w] in 0..1."""
    side = _SIDES[step % len(_SIDES)]
    images, covers, _ = data.random_batch(_BATCHES[side] * scale, side, Random(f"decoder {seed} {step}"))
    return images, covers.amax(1, keepdim=True)


def rate(progress: int) -> float:
    """Learning rate after `progress` of STEPS."""
    return ramp_and_cosine(_PEAK_RATE, progress, STEPS)


def loss(vae: AutoencoderKL, batch: Batch, noise: torch.Generator) -> torch.Tensor:
    """Absolute and squared error of the decoded image, things weighted more than their background."""
    images, covers = (tensor.to(vae.device) for tensor in batch)
    with torch.no_grad():
        latents = vae.encode(images.contiguous(memory_format=torch.channels_last)).latent_dist.mean.float()
    latents = latents + _LATENT_NOISE * torch.randn(latents.shape, generator=noise).to(latents.device)
    error = vae.decode(latents).sample.float() - images
    weight = 1 + _THING_WEIGHT * covers
    value: torch.Tensor = ((error.abs() + error.square()) * weight).mean() / weight.mean()
    return value
