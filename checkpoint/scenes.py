"""What an image shows: the words the checkpoint knows, random scenes, and where their things stand.

    Scene (what the caption says)  → place() → Placed things (where, in units of the image's side) → paint

Coordinates are (x right, y down) in units of the image's side, so a scene can be painted at any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (220, 30, 35),
    "orange": (250, 140, 20),
    "yellow": (252, 220, 40),
    "green": (35, 160, 60),
    "cyan": (60, 210, 220),
    "blue": (35, 75, 215),
    "purple": (130, 50, 175),
    "pink": (248, 130, 185),
    "white": (255, 255, 255),
    "black": (15, 15, 18),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "diamond")
RADII = {"small": (0.12, 0.14), None: (0.17, 0.22), "large": (0.26, 0.30)}
"""Half the width of a thing, by the size word."""
PLACES = {
    f"{row} {column}".strip(): (x, y)
    for row, y in (("top", 0.22), ("", 0.5), ("bottom", 0.78))
    for column, x in (("left", 0.22), ("", 0.5), ("right", 0.78))
}
PLACES["center"] = PLACES.pop("")
RELATIONS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
"""Where the first thing stands, seen from the second."""
MOST_THINGS = 3
"""In one scene."""
MARGIN = 0.04
"""Nothing stands nearer to the border than this."""

_SKY = ((0.0, (90, 165, 235)), (1.0, (195, 228, 250)))
_SCENERY: dict[str, tuple[tuple[float, RGB], ...]] = {
    "sky": _SKY,
    "night": ((0.0, (8, 10, 40)), (1.0, (40, 38, 95))),
    "sunset": ((0.0, (85, 45, 120)), (0.55, (235, 105, 75)), (1.0, (255, 205, 110))),
    "grass": (*((0.6 * y, colour) for y, colour in _SKY), (0.6, (110, 190, 70)), (1.0, (50, 125, 40))),
    "sea": (*((0.5 * y, colour) for y, colour in _SKY), (0.5, (30, 110, 170)), (1.0, (12, 55, 115))),
}
SCENERY = tuple(_SCENERY)
_CONTRAST = 0.40  # smallest RGB distance (unit cube) of a thing's colour from every row behind it


@dataclass(frozen=True)
class Background:
    """Behind the things: `kind` is "plain" (one colour), "gradient" (two, from top to bottom) or one of SCENERY."""

    kind: str
    colours: tuple[str, ...] = ()

    def rows(self, side_px: int) -> NDArray[np.float32]:
        """The colour of each row from top to bottom: float32 [side_px, 3] in 0..1, clouds and the like left out."""
        stops: tuple[tuple[float, RGB], ...]
        if self.kind in _SCENERY:
            stops = _SCENERY[self.kind]
        else:
            stops = tuple(zip((0.0, 1.0), (COLOURS[self.colours[0]], COLOURS[self.colours[-1]]), strict=True))
        heights = (np.arange(side_px) + 0.5) / side_px
        at = np.array([stop for stop, _ in stops]) + 1e-6 * np.arange(len(stops))  # two stops at a horizon
        colours = np.array([colour for _, colour in stops]) / 255
        return np.stack([np.interp(heights, at, colours[:, c]) for c in range(3)], axis=1).astype(np.float32)


@dataclass(frozen=True)
class Thing:
    """`count` equal things; `size` is "small", "large" or None."""

    shape: str
    colour: str
    size: str | None = None
    count: int = 1


@dataclass(frozen=True)
class Scene:
    """What a caption says.

    Attributes:
        things: none, one kind (with a count of 1..3), or two single things.
        background: None when the caption names none.
        place: one of PLACES, for a single thing.
        relation: one of RELATIONS, for two things; None for "a … and a …".
    """

    things: tuple[Thing, ...]
    background: Background | None
    place: str | None = None
    relation: str | None = None


@dataclass(frozen=True)
class Placed:
    """One thing in the image: its centre and half its width, in units of the image's side."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float


def random_scene(rng: Random, pairs: float = 0.2, shapes: Sequence[str] = SHAPES) -> Scene:
    """A scene whose background is always named.

    Args:
        rng: decides everything.
        pairs: share of the scenes that show two different things; of the others most show one.
        shapes: those that are chosen, equally often; one may stand there twice.
    """
    background = random_background(rng)
    kind = rng.random()
    if kind < 0.02:
        return Scene((), background)
    if kind > 1 - pairs:
        first = Thing(rng.choice(shapes), _colour_on(background, rng))
        second = Thing(rng.choice(shapes), _colour_on(background, rng))
        return Scene((first, second), background, relation=rng.choice((*RELATIONS, None)))
    if rng.random() < 0.23:
        thing = Thing(rng.choice(shapes), _colour_on(background, rng), count=rng.choice((2, 3)))
        return Scene((thing,), background)
    thing = Thing(rng.choice(shapes), _colour_on(background, rng), rng.choice(("small", None, None, "large")))
    return Scene((thing,), background, place=rng.choice((*PLACES, None, None, None)))


def random_background(rng: Random) -> Background:
    """Plain, a gradient, or scenery, about a third each."""
    kind = rng.random()
    if kind < 0.4:
        return Background("plain", (rng.choice(tuple(COLOURS)),))
    if kind < 0.55:
        return Background("gradient", tuple(rng.sample(tuple(COLOURS), 2)))
    return Background(rng.choice(SCENERY))


def colours_on(background: Background) -> list[str]:
    """The colours that stand out from every row of `background`; never empty."""
    rows = background.rows(32)
    distances = {name: _distance(rgb, rows) for name, rgb in COLOURS.items()}
    clear = [name for name, distance in distances.items() if distance >= _CONTRAST]
    return clear or [max(distances, key=distances.__getitem__)]


def layout(scene: Scene) -> list[tuple[Thing, str]]:
    """Each single thing of `scene`, in the order of place(), and the one of PLACES it is nearest to."""
    if len(scene.things) == 2:
        ways = {"left of": "left", "right of": "right", "above": "top", "below": "bottom"}
        opposite = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
        first = ways[scene.relation or "left of"]
        return list(zip(scene.things, (first, opposite[first]), strict=True))
    return [(thing, at) for thing in scene.things for at in _places(thing, scene.place)]


def place(scene: Scene, rng: Random) -> list[Placed]:
    """Where the things of `scene` stand, and how large they are."""
    if not scene.things:
        return []
    first = scene.things[0]
    if len(scene.things) == 2:
        return _pair(scene, rng)
    if first.count > 1:
        return _group(first, rng)
    radius = rng.uniform(*RADII[first.size])
    low, high = radius + MARGIN, 1 - radius - MARGIN
    reach = 0.05 if scene.place is None else 0.03
    x, y = (at + rng.uniform(-reach, reach) for at in PLACES[scene.place or "center"])
    return [Placed(first.shape, first.colour, min(max(x, low), high), min(max(y, low), high), radius)]


def _places(thing: Thing, place: str | None) -> tuple[str, ...]:
    return ((place or "center",), ("left", "right"), ("bottom left", "bottom right", "top"))[thing.count - 1]


def _pair(scene: Scene, rng: Random) -> list[Placed]:
    """Without a relation the first stands on the left: one layout for a caption is far easier to learn than four."""
    dx, dy = RELATIONS[scene.relation or "left of"]
    placed = []
    for thing, side in zip(scene.things, (1, -1), strict=True):
        x = 0.5 + side * dx * 0.23 + rng.uniform(-0.02, 0.02) + (rng.uniform(-0.03, 0.03) if dy else 0)
        y = 0.5 + side * dy * 0.23 + rng.uniform(-0.02, 0.02) + (rng.uniform(-0.03, 0.03) if dx else 0)
        placed.append(Placed(thing.shape, thing.colour, x, y, rng.uniform(0.16, 0.19)))
    return placed


def _group(thing: Thing, rng: Random) -> list[Placed]:
    """Two side by side, three in a triangle."""
    centres: tuple[tuple[float, float], ...]
    if thing.count == 3:
        centres, radius = ((0.28, 0.70), (0.72, 0.70), (0.5, 0.29)), rng.uniform(0.15, 0.18)
    else:
        centres, radius = ((0.28, 0.5), (0.72, 0.5)), rng.uniform(0.16, 0.19)
    shift_x, shift_y = rng.uniform(-0.01, 0.01), rng.uniform(-0.03, 0.03)
    return [
        Placed(thing.shape, thing.colour, x + shift_x + rng.uniform(-0.01, 0.01), y + shift_y, radius)
        for x, y in centres
    ]


def _colour_on(background: Background, rng: Random) -> str:
    return rng.choice(colours_on(background))


def _distance(colour: RGB, rows: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(rows - np.array(colour) / 255, axis=1).min())
