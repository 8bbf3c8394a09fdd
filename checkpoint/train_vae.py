"""First stage: the VAE, on 64-pixel crops of scenes painted at 64 to 256 pixels."""

from __future__ import annotations

from random import Random

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from checkpoint import data
from checkpoint.networks import fold_statistics
from checkpoint.rates import ramp_and_cosine

CROP_PX = 64
BATCH = 16
STEPS = 2600
_SIDES = (64, 128, 128, 192, 256)
_PEAK_RATE = 2e-3
_KL_WEIGHT = 3e-4  # keeps the latents' own noise near a tenth of their spread, so the decoder forgives small errors


def batch(step: int, seed: int, scale: int = 1) -> torch.Tensor:
    """Crops of batch `step`: float32 [scale x BATCH, 3, 64, 64] in -1..1."""
    rng = Random(f"vae {seed} {step}")
    side = _SIDES[step % len(_SIDES)]
    per_scene = 1 if side == CROP_PX else 2
    images, cover, _ = data.random_batch(scale * BATCH // per_scene, side, rng)
    crops = []
    for image, near in zip(images, cover, strict=True):
        for _ in range(per_scene):
            top, left = _corner(near.amax(0), side, rng)
            crops.append(image[:, top : top + CROP_PX, left : left + CROP_PX])
    return torch.stack(crops)


def _corner(near: torch.Tensor, side: int, rng: Random) -> tuple[int, int]:
    """A crop's top left corner: three in four hold a part of a thing, if there is one."""
    if rng.random() < 0.75 and near.any():
        points = near.nonzero()
        y, x = points[rng.randrange(len(points))].tolist()
        top, left = y - rng.randrange(CROP_PX), x - rng.randrange(CROP_PX)
    else:
        top, left = rng.randrange(side - CROP_PX + 1), rng.randrange(side - CROP_PX + 1)
    return min(max(top, 0), side - CROP_PX), min(max(left, 0), side - CROP_PX)


def rate(progress: int) -> float:
    """Learning rate after `progress` of STEPS."""
    return ramp_and_cosine(_PEAK_RATE, progress, STEPS)


def loss(vae: AutoencoderKL, images: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
    """Reconstruction (half absolute, half squared) and a little KL."""
    posterior = vae.encode(images).latent_dist
    latents = posterior.mean + posterior.std * torch.randn(posterior.mean.shape, generator=noise).to(images.device)
    restored = vae.decode(latents).sample.float()
    kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
    value: torch.Tensor = F.l1_loss(restored, images) + F.mse_loss(restored, images) + _KL_WEIGHT * kl
    return value


def finish(vae: AutoencoderKL, seed: int, device: torch.device) -> float:
    """Normalise the latents; returns the mean PSNR in decibels over 128 scenes of 128 pixels."""
    images, _, _ = data.random_batch(128, 128, Random(f"vae check {seed}"))
    parts = torch.split(images.to(device), 16)
    with torch.no_grad():
        latents = torch.cat([vae.encode(part).latent_dist.mean for part in parts])  # [128, 4, 32, 32]
        fold_statistics(vae, latents.mean((0, 2, 3)), latents.std((0, 2, 3)))
        errors = [_error(vae.decode(vae.encode(part).latent_dist.mean).sample, part) for part in parts]
    return float((-10 * torch.cat(errors).log10()).mean())


def _error(restored: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Mean square of each image's error, in units of the whole range: [b]."""
    return ((restored.clamp(-1, 1) - images) / 2).square().mean((1, 2, 3))
