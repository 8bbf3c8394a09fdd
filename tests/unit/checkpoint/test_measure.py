"""Painted images are read back right, so that a wrong score is the model's and not the measure's."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from checkpoint import measure, paint
from checkpoint.evaluate import scores
from checkpoint.scenes import COLOURS, SHAPES, Background, Placed, Scene, Thing, place, random_scene


@pytest.mark.parametrize(("side_px", "scenes"), [(64, 100), (128, 100), (256, 25)])
def test_painted_scenes_score_full_marks(side_px: int, scenes: int) -> None:
    rng = Random(side_px)
    verdicts = []
    for _ in range(scenes):
        scene = random_scene(rng)
        assert scene.background is not None
        image = paint.image(place(scene, rng), scene.background, side_px, rng)
        verdicts.append(measure.judge(image, scene))
    assert min(scores(verdicts).values()) >= 0.97


@pytest.mark.parametrize("shape", SHAPES)
def test_another_shape_colour_place_count_or_background_is_a_wrong_answer(shape: str) -> None:
    white = Background("plain", ("white",))
    things = [Placed(shape, "red", 0.25, 0.25, 0.15)]
    image = paint.image(things, white, 128, Random(0))
    asked = Scene((Thing(shape, "red"),), white, place="top left")
    assert measure.judge(image, asked) == measure.Verdict(True, True, True, None, None, ((shape, True),))

    other = SHAPES[(SHAPES.index(shape) + 1) % len(SHAPES)]
    wrong = Scene((Thing(other, "blue"),), Background("night"), place="bottom right")
    assert measure.judge(image, wrong) == measure.Verdict(False, False, False, None, None, ((other, False),))
    two = Scene((Thing(shape, "red", count=2),), white)
    assert measure.judge(image, two).count is False


def test_the_order_of_a_pair_decides_its_relation() -> None:
    white = Background("plain", ("white",))
    things = [Placed("star", "red", 0.25, 0.5, 0.15), Placed("ring", "blue", 0.75, 0.5, 0.15)]
    image = paint.image(things, white, 128, Random(0))
    star, ring = Thing("star", "red"), Thing("ring", "blue")
    assert measure.judge(image, Scene((star, ring), white, relation="left of")).relation is True
    assert measure.judge(image, Scene((ring, star), white, relation="left of")).relation is False
    assert measure.judge(image, Scene((star, ring), white, relation="above")).relation is False


def test_a_blob_has_no_shape_and_noise_no_things() -> None:
    grid = (np.arange(128) - 64) / 40
    blob = np.exp(
        -4 * (grid[:, None] ** 2 + grid[None] ** 2) ** 0.5 * (1.3 + np.sin(3 * np.arctan2(*np.meshgrid(grid, grid))))
    )
    image = (255 - blob[..., None] * (255 - np.array(COLOURS["red"]))).astype(np.uint8)
    assert [seen.shape for seen in measure.things(image)] in ([], [None])
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    assert measure.things(noise) == []
