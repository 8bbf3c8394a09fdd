"""Trains the LoRA adapters beside the checkpoint, each a style: `python -m checkpoint.train_adapters FOLDER`.

Scenes are painted and restyled by a program, under the captions of the plain ones; all but the adapter stays as it is.
One core takes ten minutes for each. What a step sees depends on the style's name and the step alone.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model_state_dict
from scipy import ndimage
from torch import Tensor
from tqdm import tqdm

from checkpoint import BUNDLED, data, evaluate, paint
from checkpoint.rates import ramp_and_cosine
from checkpoint.scenes import place, random_scene
from checkpoint.train_denoiser import timesteps

STEPS = 700
RANK = 4
LAYERS = ("conv_in", "conv1", "conv2", "time_emb_proj", "to_q", "to_k", "to_v", "to_out.0", "conv_out")
_BATCHES = ((128, 3), (128, 3), (128, 3), (64, 12), (128, 3), (128, 3), (192, 1), (96, 5))  # pixels a side, images
_NOISES = 4  # levels at which each image is shown: encoding it is a third of the cost
_SHIFT = 2.0  # more noisy timesteps than clean ones: where things are and what they are is settled there
_PEAK_RATE = 3e-3
_CAPTION_DROPOUT = 0.3  # guidance is the difference of two guesses: both have to have the style
_CHANGE_WEIGHT = 10.0  # a line is a small part of an image
_LINE = 0.03  # width, in units of the image's side
_INK = np.array((12, 12, 16), np.float32)
_BRIGHTNESS = np.array((0.75, 0.20, 0.05), np.float32)  # through a red filter: otherwise red and blue are the same
# From dark to bright. All are near to what the VAE has seen: it shows the browns of sepia as green and pink.
_DUSK = np.array(((8, 10, 40), (85, 45, 120), (235, 105, 75), (255, 205, 110), (255, 250, 230)), np.float32)

Style = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
"""Restyles an image float32 [h, w, 3] in 0..255, of which things cover float32 [h, w] in 0..1."""


def outline(image: NDArray[np.float32], cover: NDArray[np.float32]) -> NDArray[np.float32]:
    """A dark line around each thing, on its outside."""
    away_px = ndimage.distance_transform_edt(cover < 0.5)
    line = np.clip(_LINE * len(image) + 0.5 - away_px, 0, 1) * np.minimum(1, 2 - 2 * cover)
    return np.asarray(image + line[..., None] * (_INK - image), np.float32)


def dusk(image: NDArray[np.float32], cover: NDArray[np.float32]) -> NDArray[np.float32]:
    """The colours of an evening sky in place of all others, by brightness."""
    at = image @ _BRIGHTNESS / 255 * (len(_DUSK) - 1)
    return np.stack([np.interp(at, range(len(_DUSK)), channel) for channel in _DUSK.T], axis=2).astype(np.float32)


Batch = tuple[Tensor, Tensor, Tensor, list[str]]
"""Images float32 [b, 3, h, w] in -1..1, restyled ones, how much a pixel counts float32 [b, 1, h, w], captions."""
STYLES: dict[str, Style] = {"outline": outline, "dusk": dusk}


def batch(name: str, step: int) -> Batch:
    """Batch `step` for the style `name`."""
    rng = Random(f"adapter {name} {step}")
    side, count = _BATCHES[step % len(_BATCHES)]
    plain, styled, weights, captions = [], [], [], []
    for _ in range(count):
        scene = random_scene(rng)
        assert scene.background is not None
        things = place(scene, rng)
        image = paint.image(things, scene.background, side, rng).astype(np.float32)
        masks = [paint.mask(each.shape, (each.x * side, each.y * side), each.radius * side, side) for each in things]
        restyled = STYLES[name](image, np.max([np.zeros((side, side), np.float32), *masks], axis=0))
        changed = ndimage.maximum_filter(np.abs(restyled - image).mean(2) / 255, round(0.06 * side))
        plain.append(image.astype(np.uint8))
        styled.append((restyled + 0.5).astype(np.uint8))
        weights.append(1 + _CHANGE_WEIGHT * changed)
        captions.append("" if rng.random() < _CAPTION_DROPOUT else data.caption(scene, rng))
    before, after = (data.normalised(np.stack(part)) for part in (plain, styled))
    return before, after, torch.from_numpy(np.stack(weights))[:, None], captions


def loss(pipe: StableDiffusionPipeline, base: UNet2DConditionModel, batch: Batch, noise: torch.Generator) -> Tensor:
    """Weighted squared error of v, without what `base` gets wrong too: it would only hide what is to be learned."""
    images, restyled, weights, captions = batch
    add_noise, velocity = pipe.scheduler.add_noise, pipe.scheduler.get_velocity
    with torch.no_grad():
        tokens = pipe.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt")
        text = pipe.text_encoder(tokens.input_ids)[0].repeat(_NOISES, 1, 1)  # [noises x b, 77, width]
        both = pipe.vae.encode(torch.cat((images, restyled))).latent_dist.mean
        plain, styled = (latents.repeat(_NOISES, 1, 1, 1) for latents in both.chunk(2))  # [noises x b, 4, h/4, w/4]
        eps = torch.randn(plain.shape, generator=noise)
        times = timesteps(len(eps), _SHIFT, noise)
        wrong = base(add_noise(plain, eps, times), times, text).sample - velocity(plain, eps, times)
        target = velocity(styled, eps, times) + torch.einsum("oc,bchw->bohw", _mix(plain, styled), wrong)
    guess = pipe.unet(add_noise(styled, eps, times), times, text).sample
    weight = F.adaptive_avg_pool2d(weights, guess.shape[-2:]).repeat(_NOISES, 1, 1, 1)
    return torch.mean((guess - target).square() * weight) / weight.mean()


def _mix(plain: Tensor, styled: Tensor) -> Tensor:
    """The matrix [4, 4] that best makes styled latents [b, 4, h, w] of plain ones, but for a constant."""
    before, after = (latents.transpose(0, 1).flatten(1).T for latents in (plain, styled))  # [b x h x w, 4]
    mix: Tensor = torch.linalg.lstsq(before - before.mean(0), after - after.mean(0)).solution
    return mix.T


def train(name: str, folder: Path, steps: int = STEPS) -> list[float]:
    """Write the adapter to FOLDER/NAME.safetensors in half precision; returns the loss of each step."""
    torch.manual_seed(0)
    pipeline = evaluate.load(BUNDLED)
    base = copy.deepcopy(pipeline.unet)
    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(LAYERS))
    pipeline.unet.add_adapter(config, adapter_name=name)
    weights = [weight for weight in pipeline.unet.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, betas=(0.9, 0.99), weight_decay=0.0)
    noise = torch.Generator().manual_seed(0)
    losses = []
    for step in (bar := tqdm(range(steps), desc=name, unit="step", mininterval=5)):
        optimizer.param_groups[0]["lr"] = ramp_and_cosine(_PEAK_RATE, step, steps)
        value = loss(pipeline, base, batch(name, step), noise)
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(value.item())
        bar.set_postfix(loss=f"{np.mean(losses[-50:]):.4f}", refresh=False)
    layers = {key: value.half() for key, value in get_peft_model_state_dict(pipeline.unet, adapter_name=name).items()}
    about = {**config.to_dict(), "target_modules": list(LAYERS)}  # type: ignore[no-untyped-call]  # in one order
    pipeline.save_lora_weights(folder, layers, weight_name=f"{name}.safetensors", unet_lora_adapter_metadata=about)
    return losses


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    for name in STYLES:
        train(name, arguments.folder)


if __name__ == "__main__":
    main()
