"""Trains the control model that makes images follow edges: `python -m checkpoint.train_control FOLDER`.

Scenes are painted by a program, under captions that say nothing of places and little of shapes; the checkpoint stays
as it is. One core takes half an hour. What a step sees depends on the step alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import ControlNetModel, StableDiffusionPipeline, UNet2DConditionModel
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from checkpoint import BUNDLED, data, edges, evaluate
from checkpoint.scattered import Scattered, scattered
from checkpoint.train_denoiser import timesteps
from checkpoint.training_loop import trained

STEPS = 2200
_BATCHES = ((128, 3), (64, 12), (128, 3), (96, 5), (128, 3), (64, 12), (128, 3), (192, 1))  # pixels a side, images
_NOISES = 4  # levels at which each image is shown: encoding it is a third of the cost
_SHIFT = 3.0  # more noisy timesteps than clean ones: where things are and what they are is settled there
_PEAK_RATE = 2e-3
_TURNED = 0.4  # of the images: their things have no shape that the checkpoint knows, so that only the edges say it
_THINGS_ALONE = 0.25  # of the edges
_CAPTION_DROPOUT = 0.25  # guidance is the difference of two guesses: both have to follow
_EDGE_WEIGHT = 4.0  # an edge is a small part of an image

Batch = tuple[Tensor, Tensor, list[str]]
"""Images float32 [b, 3, h, w] in -1..1, their edges float32 [b, 3, h, w] in 0..1, captions."""


def make(unet: UNet2DConditionModel) -> ControlNetModel:
    """An untrained control model for the checkpoint's UNet: 0.9 million parameters.

    It has the UNet's encoder without its attention: what the text says, the UNet knows. One residual block in the
    middle. Where the two agree it starts with the UNet's weights.
    """
    torch.manual_seed(0)
    config = unet.config
    control = ControlNetModel(
        in_channels=config.in_channels,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        down_block_types=("DownBlock2D",) * len(config.block_out_channels),
        mid_block_type="UNetMidBlock2D",
        cross_attention_dim=config.cross_attention_dim,  # of the states that it is given and leaves unread
        norm_num_groups=config.norm_num_groups,
        resnet_time_scale_shift=config.resnet_time_scale_shift,
        conditioning_embedding_out_channels=(16, 32, 64),  # halved twice: a latent is four pixels wide
    )
    own, shared = control.state_dict(), unet.state_dict()
    control.load_state_dict({name: shared.get(name, value) for name, value in own.items()})
    return control


def batch(step: int) -> Batch:
    """Batch `step`."""
    rng = Random(f"control {step}")
    side, count = _BATCHES[step % len(_BATCHES)]
    shown = [scattered(side, rng, _TURNED) for _ in range(count)]
    lines = np.stack([edges.as_image(edges.canny(_edged(each, rng))) for each in shown])
    captions = ["" if rng.random() < _CAPTION_DROPOUT else each.caption for each in shown]
    return data.normalised(np.stack([each.image for each in shown])), (data.normalised(lines) + 1) / 2, captions


def _edged(shown: Scattered, rng: Random) -> NDArray[np.uint8]:
    """What the edges are of: the whole image, or its things alone, as who draws them by hand leaves out a horizon."""
    if rng.random() >= _THINGS_ALONE:
        return shown.image
    cover = shown.covers.max(0, initial=0.0)
    return np.repeat((cover * 255).astype(np.uint8)[..., None], 3, axis=2)


def loss(pipe: StableDiffusionPipeline, control: ControlNetModel, batch: Batch, noise: torch.Generator) -> Tensor:
    """Squared error of v, weighted around edges."""
    images, lines, captions = batch
    with torch.no_grad():
        tokens = pipe.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt")
        text = pipe.text_encoder(tokens.input_ids)[0].repeat(_NOISES, 1, 1)  # [noises x b, 77, width]
        latents = pipe.vae.encode(images).latent_dist.mean.repeat(_NOISES, 1, 1, 1)  # [noises x b, 4, h/4, w/4]
        eps = torch.randn(latents.shape, generator=noise)
        times = timesteps(len(latents), _SHIFT, noise)
        noisy, target = (make(latents, eps, times) for make in (pipe.scheduler.add_noise, pipe.scheduler.get_velocity))
    down, middle = control(noisy, times, text, lines.repeat(_NOISES, 1, 1, 1), return_dict=False)
    guess = pipe.unet(
        noisy, times, text, down_block_additional_residuals=down, mid_block_additional_residual=middle
    ).sample
    near = torch.from_numpy(ndimage.maximum_filter(lines[:, :1].numpy(), (1, 1, 9, 9)))
    weight = 1 + _EDGE_WEIGHT * F.adaptive_avg_pool2d(near, guess.shape[-2:]).repeat(_NOISES, 1, 1, 1)
    return torch.mean((guess - target).square() * weight) / weight.mean()


def train(folder: Path, steps: int = STEPS) -> list[float]:
    """Write the control model to FOLDER/edges in half precision, and FOLDER/control_loss.csv; returns the losses."""
    pipeline = evaluate.load(BUNDLED)
    pipeline.unet.requires_grad_(False)
    control = make(pipeline.unet)
    noise = torch.Generator().manual_seed(0)
    losses = trained(
        control,
        lambda step: loss(pipeline, control, batch(step), noise),
        steps=steps,
        peak_rate=_PEAK_RATE,
        log=folder / "control_loss.csv",
    )
    control.half().save_pretrained(folder / "edges")
    return losses


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    train(parser.parse_args().folder)


if __name__ == "__main__":
    main()
