"""Third stage: the UNet and the text encoder together, first on small scenes, then mostly on 128-pixel ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from checkpoint import attention, data
from checkpoint.networks import make_scheduler, text_ends

_NATIVE_SIDES = (128, 128, 96, 64, 128, 128, 128, 192, 128, 128, 96, 128, 128, 128, 128, 256)
_LAST_SIDES = (*(128,) * 9, 96, *(128,) * 9, 64, *(128,) * 9, 192, *(128,) * 9, 256)


class Phase(NamedTuple):
    """A part of the training: sides are taken in turn; each image is shown at `noises` levels of noise.

    `shift` above 1 means more noisy timesteps than clean ones.
    """

    steps: int
    sides: tuple[int, ...]
    rate: float
    noises: int = 1
    shift: float = 2.0


# Small images teach words and layout at a fraction of the cost. At a rate of 2e-3 the loss stands still.
PHASES = (
    Phase(3000, (32,), 1e-3),
    Phase(6300, (64,), 1e-3),
    Phase(5800, _NATIVE_SIDES, 7e-4, noises=2),  # a third of a step is encoding images and captions
    # What a thing becomes is settled while hardly anything can be seen. There the denoiser took noise for outlines:
    # of images begun at timestep 900 from a painted one 87 in 100 had the right shape, of those from nothing 62.
    Phase(3400, _LAST_SIDES, 6e-4, noises=4, shift=6.0),
    Phase(4400, _LAST_SIDES, 6e-4, noises=4, shift=3.0),  # and clean colours again
)
STEPS = sum(phase.steps for phase in PHASES)
_BATCHES = {32: 32, 64: 32, 96: 32, 128: 20, 192: 9, 256: 5}
_CAPTION_DROPOUT = 0.1
_THING_WEIGHT = 3.0  # things cover an eighth of an image, and nearly all that is hard
_ATTENTION_WEIGHT = 0.03

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, Phase]


def batch(step: int, seed: int, tokenizer: CLIPTokenizer, scale: int = 1) -> Batch:
    """Batch `step`, `scale` times as large as on a CPU.

    Returns:
        Images float32 [b, 3, h, w] in -1..1, covers float32 [b, 3, h, w] in 0..1, token ids int64 [b, 77], and the
        phase that says at how many levels of noise each image is to be shown, and at which.
    """
    rng = Random(f"denoiser {seed} {step}")
    phase, _ = _phase(step * scale)
    side = phase.sides[step % len(phase.sides)]
    images, covers, scenes = data.random_batch(scale * _BATCHES[side] // phase.noises, side, rng)
    captions = ["" if rng.random() < _CAPTION_DROPOUT else data.caption(scene, rng) for scene in scenes]
    tokens = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
    return images, covers, tokens, phase


def rate(progress: int) -> float:
    """Learning rate after `progress` of STEPS: a ramp, level in each phase, in the last one a cosine to nothing."""
    phase, done = _phase(progress)
    if phase is PHASES[-1]:
        return phase.rate * 0.5 * (1 + math.cos(math.pi * done / phase.steps))
    return phase.rate * min(1.0, (progress + 1) / 200)


def loss(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    vae: AutoencoderKL,
    batch: Batch,
    noise: torch.Generator,
    watched: list[attention.WatchedAttention],
    forwards: Mapping[int, Callable[..., Any]],
) -> torch.Tensor:
    """Squared error of v, things weighted more than their background, and a little for looking elsewhere in the text.

    Args:
        unet: the denoiser.
        text_encoder: trained too.
        vae: as it is.
        batch: what to learn from.
        noise: decides the noise.
        watched: the attention of `unet` to the text.
        forwards: `unet`, compiled, by the side of the images.
    """
    device = unet.device
    images, covers, tokens = (tensor.to(device) for tensor in batch[:3])
    noises = batch[3].noises
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        posterior = vae.encode(images.contiguous(memory_format=torch.channels_last)).latent_dist
        latents = posterior.mean + posterior.std * torch.randn(posterior.mean.shape, generator=noise).to(device)
    latents = latents.float().repeat(noises, 1, 1, 1)  # [noises x b, 4, h/4, w/4]
    eps = torch.randn(latents.shape, generator=noise).to(device)
    times = timesteps(len(latents), batch[3].shift, noise).to(device)
    noisy = _SCHEDULER.add_noise(latents, eps, times)
    target = _SCHEDULER.get_velocity(latents, eps, times)
    text = text_encoder(tokens)[0].repeat(noises, 1, 1)
    guess = forwards.get(images.shape[-1], unet)(noisy, times, text).sample.float()
    covers = F.avg_pool2d(covers, covers.shape[-1] // latents.shape[-1]).repeat(noises, 1, 1, 1)  # [noises x b, 3, …]
    weight = 1 + _THING_WEIGHT * covers.amax(1, keepdim=True)
    error: torch.Tensor = ((guess - target).square().mean(1, keepdim=True) * weight).mean() / weight.mean()
    ends = text_ends(text_encoder, tokens).repeat(noises)
    asked = (ends > 1).view(-1, 1, 1, 1)  # an empty caption ends at 1, and says nothing of where things stand
    return error + _ATTENTION_WEIGHT * attention.loss(watched, covers * asked, ends)


def _phase(progress: int) -> tuple[Phase, int]:
    """The phase, and how many of its steps are done."""
    for phase in PHASES[:-1]:
        if progress < phase.steps:
            return phase, progress
        progress -= phase.steps
    return PHASES[-1], progress


def timesteps(count: int, shift: float, noise: torch.Generator) -> torch.Tensor:
    """One from each of `count` equal parts of the range, so that a batch always sees all of it."""
    even = (torch.arange(count) + torch.rand(count, generator=noise)) / count
    shifted = shift * even / (1 + (shift - 1) * even)
    return (shifted * 1000).long().clamp(0, 999)


_SCHEDULER: DDIMScheduler = make_scheduler()
