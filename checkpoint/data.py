"""Batches of painted scenes, a function of the seed alone."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray

from checkpoint import captions, paint
from checkpoint.scenes import MOST_THINGS, SHAPES, Placed, Scene, place, random_scene

PAIRS = 0.4  # of the scenes: which of two things has which colour and shape is by far the hardest to learn
_SHAPES = (*SHAPES, "star", "star", "ring")  # the hardest to generate: 62 and 88 of 100 were right where others were 97
_UNNAMED_BACKGROUND = 0.05  # of the captions


def random_batch(count: int, side_px: int, rng: Random) -> tuple[torch.Tensor, torch.Tensor, list[Scene]]:
    """`count` random scenes.

    Returns:
        Images float32 [count, 3, side_px, side_px] in -1..1; how much each of up to three things
        covers each pixel, float32 [count, 3, side_px, side_px] in 0..1; the scenes.
    """
    scenes = [random_scene(rng, PAIRS, _SHAPES) for _ in range(count)]
    images = np.empty((count, side_px, side_px, 3), np.uint8)
    covers = np.zeros((count, MOST_THINGS, side_px, side_px), np.float32)
    for index, made in enumerate(scenes):
        assert made.background is not None
        things = place(made, rng)
        images[index] = paint.image(things, made.background, side_px, rng)
        for thing, cover in zip(things, covers[index], strict=False):
            _fill(cover, thing)
    return normalised(images), torch.from_numpy(covers), scenes


def normalised(images: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 [b, h, w, 3] → float32 [b, 3, h, w] in -1..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def caption(scene: Scene, rng: Random) -> str:
    """A caption for training: now and then it leaves the background open."""
    if scene.things and rng.random() < _UNNAMED_BACKGROUND:
        scene = replace(scene, background=None)
    return captions.write(scene, rng)


def _fill(cover: NDArray[np.float32], thing: Placed) -> None:
    """Set the box around a thing, a little larger than it is, to one; `cover` is float32 [side, side]."""
    side_px = len(cover)
    reach = thing.radius + 0.03
    rows = slice(max(0, int((thing.y - reach) * side_px)), int((thing.y + reach) * side_px) + 1)
    columns = slice(max(0, int((thing.x - reach) * side_px)), int((thing.x + reach) * side_px) + 1)
    cover[rows, columns] = 1
