"""Scenes whose things stand anywhere, in any size, some of them turned and stretched: no caption says where."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from random import Random

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from checkpoint import captions, paint
from checkpoint.scenes import COLOURS, MARGIN, SHAPES, Placed, Scene, place, random_scene

_RADII = (0.10, 0.32)
_TRIES = 40  # to find room for all things of a scene


@dataclass(frozen=True)
class Scattered:
    """What an image shows, and a caption without places.

    Attributes:
        image: uint8 [side, side, 3].
        covers: how much of each pixel each thing covers, float32 [things, side, side] in 0..1.
        things: where they stand.
        scene: their shapes and colours, and what is behind.
        caption: names colours, background and count, and the shapes unless they are turned.
    """

    image: NDArray[np.uint8]
    covers: NDArray[np.float32]
    things: list[Placed]
    scene: Scene
    caption: str


def scattered(side_px: int, rng: Random, turned: float = 0.0) -> Scattered:
    """A random one.

    Args:
        side_px: of the image.
        rng: decides everything.
        turned: share of the images whose things are turned and stretched, and called "shape" in the caption.
    """
    scene = random_scene(rng, pairs=0.35)
    scene = Scene(tuple(replace(thing, size=None) for thing in scene.things), scene.background)
    assert scene.background is not None
    things = _anywhere(scene, rng)
    turns = rng.random() < turned
    canvas = paint.backdrop(scene.background, side_px, rng)
    covers = np.zeros((len(things), side_px, side_px), np.float32)
    for cover, thing in zip(covers, things, strict=True):
        cover[:] = paint.mask(thing.shape, (thing.x * side_px, thing.y * side_px), thing.radius * side_px, side_px)
        if turns:
            cover[:] = _turned(cover, thing, rng)
        canvas += cover[..., None] * (np.array(COLOURS[thing.colour], np.float32) / 255 - canvas)
    caption = captions.write(scene, rng)
    if turns:
        caption = without_shapes(caption)
    return Scattered((canvas * 255 + 0.5).astype(np.uint8), covers, things, scene, caption)


def without_shapes(caption: str) -> str:
    """A caption with "shape" in place of each shape's name."""
    for shape in SHAPES:
        caption = caption.replace(shape + "es", "shapes") if shape == "cross" else caption
        caption = caption.replace(shape, "shape")
    return caption


def _anywhere(scene: Scene, rng: Random) -> list[Placed]:
    """Things that do not touch; they get smaller as room is not found."""
    asked = [thing for thing in scene.things for _ in range(thing.count)]
    most = _RADII[1] if len(asked) < 2 else 0.24 if len(asked) == 2 else 0.19
    for attempt in range(_TRIES):
        placed: list[Placed] = []
        for thing in asked:
            radius = rng.uniform(_RADII[0], most - (most - _RADII[0]) * attempt / _TRIES)
            x, y = (rng.uniform(radius + MARGIN, 1 - radius - MARGIN) for _ in range(2))
            placed.append(Placed(thing.shape, thing.colour, x, y, radius))
        if all(_apart(one, other) for at, one in enumerate(placed) for other in placed[:at]):
            return placed
    return place(scene, rng)


def _apart(one: Placed, other: Placed) -> bool:
    return math.hypot(one.x - other.x, one.y - other.y) > 1.1 * (one.radius + other.radius) + 0.02


def _turned(cover: NDArray[np.float32], thing: Placed, rng: Random) -> NDArray[np.float32]:
    """The cover [side, side] of a thing, turned and made narrower about its middle."""
    angle, across, down = rng.uniform(0, 2 * math.pi), rng.uniform(1, 1.8), rng.uniform(1, 1.3)
    cosine, sine = math.cos(angle), math.sin(angle)
    matrix = np.array(((down * cosine, -down * sine), (across * sine, across * cosine)))
    middle = np.array((thing.y, thing.x)) * len(cover) - 0.5
    return np.asarray(ndimage.affine_transform(cover, matrix, middle - matrix @ middle, order=1), np.float32)
