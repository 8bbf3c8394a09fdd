"""Edits of painted scenes and the instructions that ask for them: another colour, another background, an outline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import numpy as np
from numpy.typing import NDArray

from checkpoint import paint
from checkpoint.scattered import scattered
from checkpoint.scenes import COLOURS, SCENERY, Background, Placed, Scene, Thing, colours_on
from checkpoint.train_adapters import outline

_TRIES = 20  # to find a background on which all things are seen
_SCENERY = {
    "sky": ("put it in the sky", "make it the sky"),
    "night": ("make it night", "put it in the night"),
    "sunset": ("make it sunset", "put it in the sunset"),
    "grass": ("put it on grass", "put it on the grass"),
    "sea": ("put it at the sea", "put it in the sea"),
}


@dataclass(frozen=True)
class Edit:
    """Images uint8 [side, side, 3] before and after, what was asked, and what the later one shows.

    Attributes:
        kind: "colour", "background" or "outline".
        before: the image that is given.
        after: the image that is wanted.
        instruction: what is to be done.
        scene: what is seen afterwards, the outline left out.
        things: where they stand, before and after.
    """

    kind: str
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    instruction: str
    scene: Scene
    things: list[Placed]


def random_edit(side_px: int, rng: Random, kind: str | None = None) -> Edit:
    """One of `kind`, of any if that is None."""
    kind = kind or rng.choice(("colour", "colour", "background", "background", "outline"))
    wanted = None
    while wanted is None:
        shown = scattered(side_px, rng)
        named = len({thing.shape for thing in shown.scene.things}) == len(shown.scene.things) > 0
        wanted = _WAYS[kind](shown.scene, rng) if named else None
    scene, instruction = wanted
    colours = {thing.shape: thing.colour for thing in scene.things}
    things = [replace(thing, colour=colours[thing.shape]) for thing in shown.things]
    weather = rng.random()  # clouds, waves and stars stay where they are
    assert shown.scene.background is not None
    assert scene.background is not None
    before = paint.image(shown.things, shown.scene.background, side_px, Random(weather))
    after = paint.image(things, scene.background, side_px, Random(weather))
    if kind == "outline":
        after = (outline(after.astype(np.float32), shown.covers.max(0)) + 0.5).astype(np.uint8)
    return Edit(kind, before, after, instruction, scene, things)


def _recoloured(scene: Scene, rng: Random) -> tuple[Scene, str] | None:
    """The scene with one of its things in another colour, and the instruction; None where no other is seen there."""
    assert scene.background is not None
    at = rng.randrange(len(scene.things))
    thing = scene.things[at]
    colours = [name for name in colours_on(scene.background) if name != thing.colour]
    if not colours:
        return None
    colour = rng.choice(colours)
    things = (*scene.things[:at], replace(thing, colour=colour), *scene.things[at + 1 :])
    return replace(scene, things=things), f"make the {_noun(thing, rng)} {colour}"


def _moved(scene: Scene, rng: Random) -> tuple[Scene, str] | None:
    """The scene before another background, and the instruction; None where none suits its things."""
    for _ in range(_TRIES):
        background = Background("plain", (rng.choice(tuple(COLOURS)),))
        instruction = f"make the background {background.colours[0]}"
        if rng.random() < 0.5:
            background = Background(rng.choice(SCENERY))
            instruction = rng.choice(_SCENERY[background.kind])
        clear = colours_on(background)
        if background != scene.background and all(thing.colour in clear for thing in scene.things):
            return replace(scene, background=background), instruction
    return None


def _outlined(scene: Scene, rng: Random) -> tuple[Scene, str] | None:
    return scene, rng.choice(("outline it", "add an outline", "draw an outline"))


def _noun(thing: Thing, rng: Random) -> str:
    plural = ("es" if thing.shape == "cross" else "s") if thing.count > 1 else ""
    return f"{thing.colour} {thing.shape}{plural}" if rng.random() < 0.3 else f"{thing.shape}{plural}"


_WAYS = {"colour": _recoloured, "background": _moved, "outline": _outlined}
