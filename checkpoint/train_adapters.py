"""Trains the LoRA adapters beside the checkpoint, each a style: `python -m checkpoint.train_adapters FOLDER`.

Scenes are painted and restyled by a program, under the captions of the plain ones; all but the adapter stays as it is.
One core takes about eight minutes for each. The weights are a function of the style's name and the code.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model_state_dict
from scipy import ndimage
from tqdm import tqdm

from checkpoint import BUNDLED, data, evaluate, paint
from checkpoint.rates import ramp_and_cosine
from checkpoint.scenes import place, random_scene

STEPS = 700
RANK = 4
LAYERS = ("conv1", "conv2", "to_q", "to_k", "to_v", "to_out.0")
_SIDES = (128, 128, 128, 64, 128, 128, 192, 96)
_BATCHES = {64: 16, 96: 7, 128: 4, 192: 2}
_NOISES = 4  # levels at which each image is shown: encoding it is a third of the cost
_SHIFT = 3.0  # more noisy timesteps than clean ones: where things are and what they are is settled there
_PEAK_RATE = 3e-3
_CAPTION_DROPOUT = 0.15  # both halves of guidance have the style, so that guidance leaves it as it is
_THING_WEIGHT = 3.0
_CHANGE_WEIGHT = 10.0  # a line is a small part of an image
_LINE = 0.034  # width, in units of the image's side
_INK = np.array((12, 12, 16), np.float32)
_LUMA = np.array((0.299, 0.587, 0.114), np.float32)
_BROWNS = np.array(((35, 14, 4), (165, 100, 50), (255, 242, 205)), np.float32)  # of black, of grey, of white
_FADED = 0.7  # red and blue have one brightness: without some of their colour a red heart on blue vanishes

Style = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
"""Restyles an image float32 [h, w, 3] in 0..255, of which things cover float32 [h, w] in 0..1."""


def outline(image: NDArray[np.float32], cover: NDArray[np.float32]) -> NDArray[np.float32]:
    """A dark line around each thing, on its outside."""
    away_px = ndimage.distance_transform_edt(cover < 0.5)
    line = np.clip(_LINE * len(image) + 0.5 - away_px, 0, 1) * np.minimum(1, 2 - 2 * cover)
    restyled: NDArray[np.float32] = image + line[..., None].astype(np.float32) * (_INK - image)
    return restyled


def sepia(image: NDArray[np.float32], cover: NDArray[np.float32]) -> NDArray[np.float32]:
    """The faded browns of an old photograph."""
    brightness = image @ _LUMA
    browns = np.stack([np.interp(brightness, (0, 127.5, 255), levels) for levels in _BROWNS.T], axis=-1)
    return image + _FADED * (browns.astype(np.float32) - image)


STYLES: dict[str, Style] = {"outline": outline, "sepia": sepia}


def batch(style: Style, step: int, seed: str) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Batch `step`: images float32 [b, 3, h, w] in -1..1, how much each pixel counts float32 [b, 1, h, w], captions."""
    rng = Random(f"adapter {seed} {step}")
    side = _SIDES[step % len(_SIDES)]
    images, weights, captions = [], [], []
    for _ in range(_BATCHES[side]):
        scene = random_scene(rng)
        assert scene.background is not None
        things = place(scene, rng)
        image = paint.image(things, scene.background, side, rng).astype(np.float32)
        cover = np.zeros((side, side), np.float32)
        for thing in things:
            centre = (thing.x * side, thing.y * side)
            cover = np.maximum(cover, paint.mask(thing.shape, centre, thing.radius * side, side))
        restyled = style(image, cover)
        changed = np.abs(restyled - image).mean(2) / 255
        images.append((restyled + 0.5).clip(0, 255).astype(np.uint8))
        near, change = (ndimage.maximum_filter(part, round(0.06 * side)) for part in (cover, changed))
        weights.append(1 + _THING_WEIGHT * near + _CHANGE_WEIGHT * change)
        captions.append("" if rng.random() < _CAPTION_DROPOUT else data.caption(scene, rng))
    return data.normalised(np.stack(images)), torch.from_numpy(np.stack(weights))[:, None], captions


def loss(
    pipeline: StableDiffusionPipeline, batch: tuple[torch.Tensor, torch.Tensor, list[str]], noise: torch.Generator
) -> torch.Tensor:
    """Squared error of v, weighted."""
    images, weights, captions = batch
    with torch.no_grad():
        posterior = pipeline.vae.encode(images).latent_dist
        latents = posterior.mean + posterior.std * torch.randn(posterior.mean.shape, generator=noise)
        tokens = pipeline.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        text = pipeline.text_encoder(tokens)[0].repeat(_NOISES, 1, 1)  # [noises x b, 77, width]
    latents = latents.repeat(_NOISES, 1, 1, 1)  # [noises x b, 4, h/4, w/4]
    eps = torch.randn(latents.shape, generator=noise)
    even = (torch.arange(len(latents)) + torch.rand(len(latents), generator=noise)) / len(latents)
    timesteps = (1000 * _SHIFT * even / (1 + (_SHIFT - 1) * even)).long().clamp(0, 999)
    noisy = pipeline.scheduler.add_noise(latents, eps, timesteps)
    target = pipeline.scheduler.get_velocity(latents, eps, timesteps)
    guess = pipeline.unet(noisy, timesteps, text).sample
    weight = F.adaptive_avg_pool2d(weights, latents.shape[-2:]).repeat(_NOISES, 1, 1, 1)
    value: torch.Tensor = ((guess - target).square() * weight).mean() / weight.mean()
    return value


def train(name: str, folder: Path, checkpoint: Path = BUNDLED, steps: int = STEPS) -> list[float]:
    """Write the adapter `name` to FOLDER/NAME.safetensors in half precision; returns the loss of each step."""
    torch.manual_seed(0)
    pipeline = evaluate.load(checkpoint)
    for part in (pipeline.vae, pipeline.text_encoder, pipeline.unet):
        part.requires_grad_(False)
    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(LAYERS))
    pipeline.unet.add_adapter(config, adapter_name=name)
    weights = [weight for weight in pipeline.unet.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, betas=(0.9, 0.99), weight_decay=0.0)
    noise = torch.Generator().manual_seed(0)
    losses = []
    for step in (bar := tqdm(range(steps), desc=name, unit="step", mininterval=5)):
        for group in optimizer.param_groups:
            group["lr"] = ramp_and_cosine(_PEAK_RATE, step, steps)
        value = loss(pipeline, batch(STYLES[name], step, name), noise)
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(value.item())
        bar.set_postfix(loss=f"{np.mean(losses[-50:]):.4f}", refresh=False)
    layers = {key: value.half() for key, value in get_peft_model_state_dict(pipeline.unet, adapter_name=name).items()}
    StableDiffusionPipeline.save_lora_weights(
        folder,
        layers,
        weight_name=f"{name}.safetensors",
        unet_lora_adapter_metadata=config.to_dict(),  # type: ignore[no-untyped-call]
    )
    return losses


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--styles", nargs="+", choices=STYLES, default=list(STYLES))
    arguments = parser.parse_args()
    for name in arguments.styles:
        train(name, arguments.folder)


if __name__ == "__main__":
    main()
