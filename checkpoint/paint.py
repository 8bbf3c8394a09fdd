"""Paints scenes: anti-aliased shapes over backgrounds, at any size."""

from __future__ import annotations

import math
from functools import lru_cache
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from checkpoint.scenes import COLOURS, Background, Placed

_OVERSAMPLE = 4  # an edge pixel has 16 levels


def image(things: list[Placed], background: Background, side_px: int, rng: Random) -> NDArray[np.uint8]:
    """Paint `things` over `background`; `rng` moves only clouds, stars and waves. uint8 [side_px, side_px, 3]."""
    canvas = backdrop(background, side_px, rng)
    for thing in things:
        radius_px = thing.radius * side_px
        left, top = math.floor(thing.x * side_px - radius_px) - 1, math.floor(thing.y * side_px - radius_px) - 1
        box_px = math.ceil(2 * radius_px) + 3
        stencil = mask(thing.shape, (thing.x * side_px - left, thing.y * side_px - top), radius_px, box_px)
        rows = slice(max(top, 0), min(top + box_px, side_px))
        columns = slice(max(left, 0), min(left + box_px, side_px))
        cover = stencil[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left, None]
        colour = np.array(COLOURS[thing.colour], np.float32) / 255
        canvas[rows, columns] += cover * (colour - canvas[rows, columns])
    return (canvas * 255 + 0.5).astype(np.uint8)


def mask(shape: str, centre_px: tuple[float, float], radius_px: float, box_px: int) -> NDArray[np.float32]:
    """How much of each pixel the shape covers: float32 [box_px, box_px] in 0..1."""
    stencil = Image.new("L", (box_px * _OVERSAMPLE,) * 2)
    pen = ImageDraw.Draw(stencil)
    for ink, outline in zip((255, 0), _outlines(shape), strict=False):
        points = (outline * radius_px + centre_px) * _OVERSAMPLE - 0.5
        pen.polygon(points.ravel().tolist(), fill=ink)
    return np.asarray(stencil.reduce(_OVERSAMPLE), np.float32) / 255


def backdrop(background: Background, side_px: int, rng: Random) -> NDArray[np.float32]:
    """The background alone: float32 [side_px, side_px, 3] in 0..1."""
    rows = background.rows(side_px)
    canvas = np.repeat(rows[:, None], side_px, axis=1)
    match background.kind:
        case "sky":
            _clouds(canvas, rng, 0.9)
        case "grass":
            _clouds(canvas, rng, 0.45)
            blades = 0.04 * np.sin(np.arange(side_px) * (2 * math.pi * 18 / side_px) + rng.uniform(0, 6))
            canvas[round(0.6 * side_px) :, :, 1] += blades.astype(np.float32)
        case "sea":
            _clouds(canvas, rng, 0.35)
            _waves(canvas[round(0.5 * side_px) :], side_px, rng)
        case "night":
            dot_px = max(1, side_px // 64)
            for _ in range(24):
                x, y = (rng.randrange(side_px - dot_px + 1) for _ in range(2))
                canvas[y : y + dot_px, x : x + dot_px] += rng.uniform(0.3, 0.6)
    return np.clip(canvas, 0, 1)


def _clouds(canvas: NDArray[np.float32], rng: Random, lowest: float) -> None:
    """Three soft white clouds above `lowest`, faint enough not to be taken for things."""
    grid = (np.arange(canvas.shape[0], dtype=np.float32) + 0.5) / canvas.shape[0]
    for third in range(3):
        x, y = (third + rng.uniform(0.2, 0.8)) / 3, rng.uniform(0.08, lowest - 0.1)
        cloud = np.outer(np.exp(-(((grid - y) / 0.045) ** 2)), np.exp(-(((grid - x) / 0.13) ** 2)))
        canvas += 0.4 * cloud[..., None] * (1 - canvas)


def _waves(water: NDArray[np.float32], side_px: int, rng: Random) -> None:
    """Crests that are wider apart in front."""
    depth = (np.arange(water.shape[0], dtype=np.float32) + 0.5) / side_px
    along = (np.arange(side_px, dtype=np.float32) + 0.5) / side_px
    phase = 2 * math.pi * 8 * np.sqrt(depth + 0.02)[:, None] + 0.8 * np.sin(2 * math.pi * 2 * along + rng.uniform(0, 6))
    water += 0.05 * np.sin(2 * phase)[..., None].astype(np.float32)


@lru_cache
def _outlines(shape: str) -> tuple[NDArray[np.float64], ...]:
    """The outline, and the hole if there is one: points [k, 2] (x right, y down), half width 1."""
    turn = np.linspace(0, 2 * math.pi, 64, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    match shape:
        case "circle":
            return (circle,)
        case "ring":
            return circle, circle * 0.55
        case "square":
            return (0.9 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]),)
        case "diamond":
            return (np.array([(0, -1), (0.75, 0), (0, 1), (-0.75, 0)]),)
        case "triangle":
            return (np.array([(0, -0.9), (1, 0.85), (-1, 0.85)]),)
        case "cross":
            a = 0.34
            quarter = [(-a, -1), (a, -1), (a, -a), (1, -a)]
            return (np.array([_rotated(point, k) for k in range(4) for point in quarter[1:]]),)
        case "star":
            spikes = np.where(np.arange(10) % 2, 0.45, 1.05)
            angles = np.arange(10) * math.pi / 5
            return (np.stack([spikes * np.sin(angles), 0.08 - spikes * np.cos(angles)], axis=1),)
        case "heart":
            # The usual parametric heart curve, https://mathworld.wolfram.com/HeartCurve.html, scaled to half width 1.
            x = 16 * np.sin(turn) ** 3
            y = 13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn)
            return (np.stack([x / 16, -(y + 2.5) / 16], axis=1),)
    raise ValueError(f"no shape is called {shape!r}")


def _rotated(point: tuple[float, float], quarters: int) -> tuple[float, float]:
    x, y = point
    for _ in range(quarters):
        x, y = -y, x
    return x, y


def outline_box(shape: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """The middle (x, y) and the half width and half height of the shape's outline, for a radius of 1."""
    low, high = _outlines(shape)[0].min(0), _outlines(shape)[0].max(0)
    (x, y), (half_width, half_height) = (low + high) / 2, (high - low) / 2
    return (float(x), float(y)), (float(half_width), float(half_height))
