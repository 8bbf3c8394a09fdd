"""Captions of scenes, in varied wording, and the parser that reads them back.

parse(write(scene, rng)) says what `scene` says, for every scene and rng.
"""

from __future__ import annotations

import re
from random import Random

from checkpoint.scenes import COLOURS, PLACES, RELATIONS, SHAPES, Background, Scene, Thing

_OPENINGS = ("", "", "", "", "a picture of ", "a drawing of ", "an image of ", "there is ")
_SIZES = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
_COUNTS = {2: ("two", "2"), 3: ("three", "3")}
_RELATIONS = {
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
}
_SCENERY = {
    "sky": ("in the sky", "in a blue sky with clouds", "with the sky behind"),
    "night": ("at night", "in the night sky", "in a starry night", "in the dark night sky with stars"),
    "sunset": ("at sunset", "in front of a sunset", "in a sunset sky"),
    "grass": ("on grass", "on the green grass", "on a meadow"),
    "sea": ("at the sea", "in the sea", "on the ocean"),
}
_SYNONYMS = {
    **{word: size for size, words in _SIZES.items() for word in words},
    "violet": "purple",
    "centre": "center",
    "middle": "center",
    "upper": "top",
    "lower": "bottom",
    "rectangle": "square",
    "plus": "cross",
    "disc": "circle",
    "disk": "circle",
    "ocean": "sea",
    "meadow": "grass",
    "starry": "night",
    "over": "above",
    "under": "below",
    "beneath": "below",
}
_OTHER_WORDS = (
    "a an the one and of with from to at on in is are there it picture drawing image photo corner side background",
    "gradient plain solid shape starry stars clouds dark light bright front behind against clear day evening next",
)
_NUMBERS = {word: count for count, words in _COUNTS.items() for word in words}
_THING = re.compile(
    rf"(?:\b(?P<count>{'|'.join(_NUMBERS)}) )?(?:\b(?P<size>{'|'.join(_SIZES)}) )?"
    rf"\b(?P<colour>{'|'.join(COLOURS)}) (?P<shape>{'|'.join(SHAPES)})(?:es|s)?\b"
)


def write(scene: Scene, rng: Random) -> str:
    """One way of saying `scene`."""
    background = "" if scene.background is None else _write_background(scene.background, rng)
    if not scene.things:
        return background.removeprefix("on ").removeprefix("in ").removeprefix("at ").removeprefix("against ")
    things = _write_things(scene, rng)
    if background and rng.random() < 0.12:
        return f"{background}, {things}"
    opening = rng.choice(_OPENINGS)
    if opening == "there is " and scene.things[0].count > 1:
        opening = "there are "
    if background and rng.random() < 0.1:
        background = f", {background}"
    return f"{opening}{things} {background}".strip().replace(" ,", ",")


def parse(caption: str) -> Scene:
    """What a caption of this grammar says.

    Raises:
        ValueError: it names no thing and no background that the checkpoint knows.
    """
    text = " ".join(_SYNONYMS.get(word, word) for word in re.findall(r"[a-z0-9]+", caption.lower()))
    found = list(_THING.finditer(text))
    things = tuple(
        Thing(match["shape"], match["colour"], match["size"], _NUMBERS.get(match["count"], 1)) for match in found
    )
    rest = _THING.sub("|", text)
    background = _parse_background(rest)
    if not things and background is None:
        raise ValueError(f"nothing known in {caption!r}")
    relation = next((name for name in RELATIONS if name in rest.split("|")[1]), None) if len(things) == 2 else None
    place = _parse_place(rest.split()) if len(things) == 1 and things[0].count == 1 else None
    return Scene(things, background, place, relation)


def _parse_background(text: str) -> Background | None:
    words = text.split()
    for kind in ("night", "sunset", "grass", "sea", "sky"):  # "a starry night sky" is a night, "a sunset sky" a sunset
        if kind in words:
            return Background(kind)
    colours = tuple(word for word in words if word in COLOURS)
    if len(colours) == 2:
        return Background("gradient", colours)
    return Background("plain", colours) if len(colours) == 1 else None


def _parse_place(words: list[str]) -> str | None:
    row = next((word for word in words if word in ("top", "bottom")), "")
    column = next((word for word in words if word in ("left", "right")), "")
    return f"{row} {column}".strip() or ("center" if "center" in words else None)


def _write_things(scene: Scene, rng: Random) -> str:
    if len(scene.things) == 2:
        first, second = (_noun(thing, rng) for thing in scene.things)
        return f"{first} {rng.choice(_RELATIONS[scene.relation]) if scene.relation else 'and'} {second}"
    thing = _noun(scene.things[0], rng)
    if scene.place is None:
        return thing
    if scene.place == "center":
        return f"{thing} in the {rng.choice(('center', 'centre', 'middle'))}"
    if " " in scene.place:
        return f"{thing} {rng.choice(('in', 'at'))} the {scene.place}{rng.choice(('', ' corner'))}"
    ending = rng.choice(("", " side")) if scene.place in ("left", "right") else ""
    return f"{thing} {rng.choice(('on', 'at'))} the {scene.place}{ending}"


def _noun(thing: Thing, rng: Random) -> str:
    words = [rng.choice(_SIZES[thing.size])] if thing.size else []
    words += [thing.colour, thing.shape + ("es" if thing.shape == "cross" else "s") * (thing.count > 1)]
    if thing.count > 1:
        return " ".join([rng.choice(_COUNTS[thing.count]), *words])
    article = rng.choice(("", "one", *["an" if words[0][0] in "aeiou" else "a"] * 4))
    return " ".join([article, *words]).strip()


def _write_background(background: Background, rng: Random) -> str:
    if background.kind == "plain":
        colour = background.colours[0]
        article = "an" if colour[0] in "aeiou" else "a"
        return rng.choice(
            (f"on {article} {colour} background",) * 3 + (f"on {colour}", f"against {article} {colour} background")
        )
    if background.kind == "gradient":
        top, bottom = background.colours
        return rng.choice((f"on a gradient from {top} to {bottom}", f"on a {top} to {bottom} gradient"))
    return rng.choice(_SCENERY[background.kind])


def vocabulary() -> list[str]:
    """Every word of the grammar, for the tokenizer."""
    phrases = [*_OPENINGS, *_SYNONYMS, *COLOURS, *PLACES, *RELATIONS, *SHAPES, *_OTHER_WORDS]
    for options in (_COUNTS, _RELATIONS, _SCENERY):
        phrases += [phrase for variants in options.values() for phrase in variants]
    phrases += [f"{shape}s" for shape in SHAPES] + ["crosses"]
    return sorted({word for phrase in phrases for word in re.findall(r"[a-z]+|\d", phrase)})
