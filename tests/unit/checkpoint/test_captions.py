"""Captions say what their scene says, in words the tokenizer knows."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpoint import captions
from checkpoint.networks import make_tokenizer
from checkpoint.scenes import Background, Scene, Thing, random_scene


@given(st.integers(0, 2**32))
def test_what_is_written_is_read_back(seed: int) -> None:
    rng = Random(seed)
    scene = random_scene(rng)
    assert captions.parse(captions.write(scene, rng)) == scene


@pytest.mark.parametrize(
    ("caption", "scene"),
    [
        ("A Red Circle", Scene((Thing("circle", "red"),), None)),
        ("two big blue stars at night", Scene((Thing("star", "blue", "large", 2),), Background("night"))),
        ("3 crosses", None),
        (
            "a violet disc to the left of a pink heart, on a gradient from red to blue",
            Scene(
                (Thing("circle", "purple"), Thing("heart", "pink")),
                Background("gradient", ("red", "blue")),
                relation="left of",
            ),
        ),
        (
            "upper left: a green plus on white",
            Scene((Thing("cross", "green"),), Background("plain", ("white",)), "top left"),
        ),
        ("the ocean", Scene((), Background("sea"))),
        ("a photo of a dog", None),
    ],
)
def test_captions_of_others_are_read_as_far_as_they_are_known(caption: str, scene: Scene | None) -> None:
    if scene is None:
        with pytest.raises(ValueError, match="nothing known in"):
            captions.parse(caption)
    else:
        assert captions.parse(caption) == scene


def test_every_word_of_the_grammar_is_one_token_and_other_text_still_tokenises() -> None:
    tokenizer = make_tokenizer()
    for word in captions.vocabulary():
        assert len(tokenizer(word).input_ids) == 3, word  # start, word, end
    for text in ("naïve Größe 漢字 🙂", "", "circle-square"):
        ids = tokenizer(text).input_ids
        assert tokenizer.unk_token_id not in ids[1:-1]
