"""Trains the edit model beside the checkpoint, which follows instructions: `python -m checkpoint.train_edit FOLDER`.

Scenes are painted by a program before and after an edit. Only the denoiser is new; text encoder and VAE are the
checkpoint's own. One core takes half an hour. What a step sees depends on the step alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from scipy import ndimage
from torch import Tensor

from checkpoint import BUNDLED, data, evaluate
from checkpoint.edits import random_edit
from checkpoint.train_denoiser import timesteps
from checkpoint.training_loop import trained

STEPS = 1300
_BATCHES = ((128, 3), (64, 12), (128, 3), (96, 5), (128, 3), (64, 12), (128, 3), (192, 1))  # pixels a side, images
_NOISES = 4  # levels at which each image is shown: encoding it is a third of the cost
_SHIFT = 2.0  # more noisy timesteps than clean ones: what is to change is settled there
_PEAK_RATE = 1e-3
_TEXT_DROPOUT = 0.1  # guidance by the text and by the image are differences of guesses with and without them
_IMAGE_DROPOUT = 0.1
_CHANGE_WEIGHT = 5.0  # what changes is mostly a small part of an image

Batch = tuple[Tensor, Tensor, Tensor, list[str], Tensor]
"""Images float32 [b, 3, h, w] in -1..1, edited ones, how much a pixel counts float32 [b, 1, h, w], instructions, and
whether the image is shown float32 [b, 1, 1, 1]."""


def make(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A denoiser that sees noise and an image, with 2.4 million parameters: the checkpoint's without its middle block
    and without attention on the way up. What it has of the checkpoint's starts as it is there.
    """
    torch.manual_seed(0)
    without = {"mid_block_type": None, "up_block_types": ("UpBlock2D",) * len(unet.config.block_out_channels)}
    channels = unet.config.in_channels
    config = {name: value for name, value in unet.config.items() if name != "_name_or_path"}
    edit = UNet2DConditionModel.from_config({**config, **without, "in_channels": 2 * channels})
    own, shared = edit.state_dict(), unet.state_dict()
    own["conv_in.weight"].zero_()  # of the image nothing at first
    own["conv_in.weight"][:, :channels] = shared.pop("conv_in.weight")
    edit.load_state_dict({name: shared.get(name, value) for name, value in own.items()})
    return edit


def batch(step: int) -> Batch:
    """Batch `step`."""
    rng = Random(f"edit {step}")
    side, count = _BATCHES[step % len(_BATCHES)]
    edits = [random_edit(side, rng) for _ in range(count)]
    before, after = np.stack([edit.before for edit in edits]), np.stack([edit.after for edit in edits])
    changed = np.abs(before.astype(np.float32) - after).mean(3) / 255
    weights = 1 + _CHANGE_WEIGHT * ndimage.maximum_filter(changed, (1, round(0.06 * side), round(0.06 * side)))
    instructions = ["" if rng.random() < _TEXT_DROPOUT else edit.instruction for edit in edits]
    shown = torch.tensor([float(rng.random() >= _IMAGE_DROPOUT) for _ in edits]).view(-1, 1, 1, 1)
    images = (data.normalised(before), data.normalised(after))
    return *images, torch.from_numpy(weights)[:, None], instructions, shown


def loss(pipe: StableDiffusionPipeline, edit: UNet2DConditionModel, batch: Batch, noise: torch.Generator) -> Tensor:
    """Squared error of v, weighted where the image changes."""
    before, after, weights, instructions, shown = batch
    with torch.no_grad():
        tokens = pipe.tokenizer(instructions, padding="max_length", truncation=True, return_tensors="pt")
        text = pipe.text_encoder(tokens.input_ids)[0].repeat(_NOISES, 1, 1)  # [noises x b, 77, width]
        given, wanted = pipe.vae.encode(torch.cat((before, after))).latent_dist.mean.chunk(2)
        latents = wanted.repeat(_NOISES, 1, 1, 1)  # [noises x b, 4, h/4, w/4]
        eps = torch.randn(latents.shape, generator=noise)
        times = timesteps(len(latents), _SHIFT, noise)
        noisy, target = (make(latents, eps, times) for make in (pipe.scheduler.add_noise, pipe.scheduler.get_velocity))
        seen = torch.cat((noisy, (given * shown).repeat(_NOISES, 1, 1, 1)), 1)  # [noises x b, 8, h/4, w/4]
    guess = edit(seen, times, text).sample
    weight = F.adaptive_avg_pool2d(weights, guess.shape[-2:]).repeat(_NOISES, 1, 1, 1)
    return torch.mean((guess - target).square() * weight) / weight.mean()


def train(folder: Path, steps: int = STEPS) -> list[float]:
    """Write the denoiser to FOLDER/unet in half precision, and FOLDER/edit_loss.csv; returns the losses."""
    pipeline = evaluate.load(BUNDLED)
    edit = make(pipeline.unet)
    noise = torch.Generator().manual_seed(0)
    losses = trained(
        edit,
        lambda step: loss(pipeline, edit, batch(step), noise),
        steps=steps,
        peak_rate=_PEAK_RATE,
        log=folder / "edit_loss.csv",
    )
    edit.half().save_pretrained(folder / "unet")
    return losses


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    train(parser.parse_args().folder)


if __name__ == "__main__":
    main()
