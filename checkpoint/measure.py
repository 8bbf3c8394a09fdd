"""Reads an image back: which things it shows, where, and over what; judged by its pixels alone.

image → the background of each row, from the borders → patches of one colour that stand out → their shapes,
by the best overlap with painted templates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from checkpoint.paint import mask, outline_box
from checkpoint.scenes import COLOURS, MARGIN, PLACES, RELATIONS, SCENERY, SHAPES, Background, Scene, Thing

_SAME_COLOUR = 0.22  # RGB distance (unit cube) within which a pixel has a palette colour
_STANDS_OUT = 0.25  # … and beyond which it is not background
_SMALLEST = 0.003  # share of the image; the smallest thing painted covers 0.020
_OVERLAP = 0.7  # intersection over union with its template from which a thing has a shape
_PALETTE = np.array(list(COLOURS.values()), np.float32) / 255
_NAMES = tuple(COLOURS)


@dataclass(frozen=True)
class Seen:
    """One thing found. `shape` is None when no template fits; x, y, radius in units of the image's side."""

    shape: str | None
    colour: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Verdict:
    """Whether an image shows what was asked; None where nothing was asked. `shapes` are (asked, seen right)."""

    background: bool | None
    colour: bool | None
    position: bool | None
    count: bool | None
    relation: bool | None
    shapes: tuple[tuple[str, bool], ...]


def judge(image: NDArray[np.uint8], scene: Scene) -> Verdict:
    """Compare `image`, uint8 [side, side, 3], with what its caption said."""
    seen = things(image)
    asked = [thing for thing in scene.things for _ in range(thing.count)]
    kind = scene.things[0] if scene.things else None
    pairs = _assign(asked, seen)
    position = relation = count = None
    if scene.place is not None:
        position = bool(seen) and _cell(seen[0]) == scene.place
    if kind is not None and kind.count > 1:
        count = len(seen) == kind.count
    if scene.relation is not None:
        found = [match for _, match in pairs if match is not None and match.shape is not None]
        orders = permutations(found) if scene.things[0] == scene.things[1] else [tuple(found)]
        relation = len(found) == 2 and any(_stands(first, second, scene.relation) for first, second in orders)
    return Verdict(
        background=None if scene.background is None else background(image) == scene.background,
        colour=all(match is not None and match.colour == thing.colour for thing, match in pairs) if asked else None,
        position=position,
        count=count,
        relation=relation,
        shapes=tuple((thing.shape, match is not None and match.shape == thing.shape) for thing, match in pairs),
    )


def things(image: NDArray[np.uint8]) -> list[Seen]:
    """The things in `image`, uint8 [side, side, 3], the largest first."""
    side = image.shape[0]
    pixels = image.astype(np.float32) / 255
    behind = np.repeat(_border_rows(pixels)[:, None], side, axis=1)
    distances = np.linalg.norm(pixels[:, :, None] - _PALETTE, axis=3)  # [side, side, colours]
    nearest = distances.argmin(2)
    out = (distances.min(2) < _SAME_COLOUR) & (np.linalg.norm(pixels - behind, axis=2) > _STANDS_OUT)
    patches: list[tuple[NDArray[np.bool_], int]] = []
    for colour in range(len(_PALETTE)):
        labels, number = ndimage.label(out & (nearest == colour), np.ones((3, 3)))
        patches += [(labels == label, colour) for label in range(1, number + 1)]
    patches = [patch for patch in patches if patch[0].sum() >= _SMALLEST * side * side]
    patches.sort(key=lambda patch: -int(patch[0].sum()))
    found, taken = [], np.zeros((side, side), bool)
    for inside, colour in patches:
        # Between red and white lies pink: a rim of another colour belongs to the thing it surrounds.
        if taken[inside].mean() < 0.7:
            found.append(_thing(pixels, behind, inside, colour))
            taken |= ndimage.binary_dilation(inside, iterations=3)
    return found


def background(image: NDArray[np.uint8]) -> Background:
    """The known background that the image's borders resemble most."""
    profile = _border_rows(image.astype(np.float32) / 255)
    candidates, rows = _backgrounds(image.shape[0])
    return candidates[int(np.abs(rows - profile).mean((1, 2)).argmin())]


def _thing(pixels: NDArray[np.float32], behind: NDArray[np.float32], inside: NDArray[np.bool_], colour: int) -> Seen:
    """The patch with its soft edge, and the template it overlaps best."""
    side = pixels.shape[0]
    near = ndimage.binary_dilation(inside, iterations=2)
    span = _PALETTE[colour] - behind
    cover = ((pixels - behind) * span).sum(2) / np.maximum((span * span).sum(2), 1e-3)
    cover = np.where(near, cover.clip(0, 1), 0).astype(np.float32)
    rows, columns = (np.flatnonzero((cover > 0.5).any(axis)) for axis in (1, 0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    best, shape = 0.0, None
    for name in SHAPES:
        (x, y), (half_width, half_height) = outline_box(name)
        radius = ((right - left) / half_width + (bottom - top) / half_height) / 4
        centre = ((left + right) / 2 - x * radius, (top + bottom) / 2 - y * radius)
        template = mask(name, centre, radius, side)
        overlap = float(np.minimum(template, cover).sum() / np.maximum(template, cover).sum())
        if overlap > max(best, _OVERLAP):
            best, shape = overlap, name
    middle = ((left + right) / 2 / side, (top + bottom) / 2 / side)
    return Seen(shape, _NAMES[colour], *middle, radius=max(right - left, bottom - top) / 2 / side)


def _border_rows(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The background of each row, float32 [side, 3]: nothing stands within MARGIN of the border."""
    width = max(1, int(MARGIN * pixels.shape[1]))
    border = np.concatenate([pixels[:, :width], pixels[:, -width:]], axis=1)
    rows: NDArray[np.float32] = np.median(border, axis=1)
    return rows


@lru_cache
def _backgrounds(side: int) -> tuple[list[Background], NDArray[np.float32]]:
    candidates = [Background("plain", (name,)) for name in COLOURS]
    candidates += [Background("gradient", pair) for pair in permutations(COLOURS, 2)]
    candidates += [Background(kind) for kind in SCENERY]
    return candidates, np.stack([candidate.rows(side) for candidate in candidates])


def _assign(asked: list[Thing], found: list[Seen]) -> list[tuple[Thing, Seen | None]]:
    """Each thing asked for with the one found that is most like it, no find used twice."""
    seen: list[Seen | None] = [*found, *[None] * (len(asked) - len(found))]

    def likeness(order: tuple[Seen | None, ...]) -> int:
        return sum(
            2 * (match.colour == thing.colour) + (match.shape == thing.shape)
            for thing, match in zip(asked, order, strict=True)
            if match is not None
        )

    best = max(permutations(seen[: max(4, len(asked))], len(asked)), key=likeness)
    return list(zip(asked, best, strict=True))


def _cell(seen: Seen) -> str:
    """The name of the ninth of the image in which the thing stands; a large one cannot get as near to the border."""
    reach = min(0.14, (0.5 - seen.radius - MARGIN) / 2)
    row = "top" if seen.y < 0.5 - reach else "bottom" if seen.y > 0.5 + reach else ""
    column = "left" if seen.x < 0.5 - reach else "right" if seen.x > 0.5 + reach else ""
    name = f"{row} {column}".strip() or "center"
    assert name in PLACES
    return name


def _stands(first: Seen, second: Seen, relation: str) -> bool:
    dx, dy = RELATIONS[relation]
    across, down = first.x - second.x, first.y - second.y
    return bool(across * dx + down * dy > max(0.05, abs(across * dy) + abs(down * dx)))
