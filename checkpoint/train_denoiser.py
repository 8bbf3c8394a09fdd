"""Second stage: the UNet and the text encoder together, first on 64-pixel scenes, then mostly on 128-pixel ones."""

from __future__ import annotations

import math
from random import Random

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from checkpoint import data
from checkpoint.networks import make_scheduler

SMALL_STEPS = 6000  # 64 pixels: four times as many scenes a minute, enough to learn words and layout
NATIVE_STEPS = 3000
STEPS = SMALL_STEPS + NATIVE_STEPS
_NATIVE_SIDES = (128, 128, 128, 64, 128, 128, 128, 192, 128, 128, 128, 64, 128, 128, 128, 256)
_BATCHES = {64: 64, 128: 32, 192: 14, 256: 8}  # about as long a step each
_PEAK_RATE = 2e-3
_CAPTION_DROPOUT = 0.1
_THING_WEIGHT = 3.0  # things cover an eighth of a picture, and nearly all that is hard
_TIMESTEP_SHIFT = 2.0  # more noisy steps than clean ones: shapes are decided there

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def batch(step: int, seed: int, tokenizer: CLIPTokenizer) -> Batch:
    """Batch `step`: pictures float32 [b, 3, h, w], covers float32 [b, 1, h, w], token ids int64 [b, 77]."""
    rng = Random(f"denoiser {seed} {step}")
    side = 64 if step < SMALL_STEPS else _NATIVE_SIDES[step % len(_NATIVE_SIDES)]
    pictures, covers, scenes = data.draw(_BATCHES[side], side, rng)
    captions = ["" if rng.random() < _CAPTION_DROPOUT else data.caption(scene, rng) for scene in scenes]
    tokens = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
    return pictures, covers, tokens


def rate(step: int) -> float:
    """Learning rate: a ramp, level for the small scenes, then a cosine to nothing."""
    if step < SMALL_STEPS:
        return _PEAK_RATE * min(1.0, (step + 1) / 200)
    done = (step - SMALL_STEPS) / NATIVE_STEPS
    return _PEAK_RATE * 0.5 * (1 + math.cos(math.pi * done))


def loss(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    vae: AutoencoderKL,
    drawn: Batch,
    noise: torch.Generator,
) -> torch.Tensor:
    """Squared error of v, things weighted more than their background."""
    device = unet.device
    pictures, covers, tokens = (tensor.to(device) for tensor in drawn)
    with torch.no_grad():
        posterior = vae.encode(pictures.contiguous(memory_format=torch.channels_last)).latent_dist
        latents = posterior.mean + posterior.std * torch.randn(posterior.mean.shape, generator=noise).to(device)
    latents = latents.float()  # [b, 4, h/4, w/4]
    eps = torch.randn(latents.shape, generator=noise).to(device)
    timesteps = _timesteps(len(latents), noise).to(device)
    noisy = _SCHEDULER.add_noise(latents, eps, timesteps)
    target = _SCHEDULER.get_velocity(latents, eps, timesteps)
    text = text_encoder(tokens)[0]
    guess = unet(noisy, timesteps, text).sample.float()
    weight = 1 + _THING_WEIGHT * torch.nn.functional.avg_pool2d(covers, covers.shape[-1] // latents.shape[-1])
    value: torch.Tensor = ((guess - target).square().mean(1, keepdim=True) * weight).mean() / weight.mean()
    return value


def _timesteps(count: int, noise: torch.Generator) -> torch.Tensor:
    """One from each of `count` equal parts of the range, so that a batch always sees all of it."""
    even = (torch.arange(count) + torch.rand(count, generator=noise)) / count
    shifted = _TIMESTEP_SHIFT * even / (1 + (_TIMESTEP_SHIFT - 1) * even)
    return (shifted * 1000).long().clamp(0, 999)


_SCHEDULER: DDIMScheduler = make_scheduler()
