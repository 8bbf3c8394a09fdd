"""Images of scenes: the same scene at every size, clean edges, nothing over the border."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from PIL import Image

from checkpoint import paint
from checkpoint.scenes import (
    COLOURS,
    MARGIN,
    PLACES,
    SCENERY,
    SHAPES,
    Background,
    Placed,
    colours_on,
    layout,
    place,
    random_scene,
)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_fills_its_box_and_has_soft_edges(shape: str) -> None:
    cover = paint.mask(shape, (32, 32), 24, 64)
    (x, y), (half_width, half_height) = paint.outline_box(shape)
    rows, columns = np.flatnonzero(cover.max(1) > 0.5), np.flatnonzero(cover.max(0) > 0.5)
    assert np.ptp(columns) + 1 == pytest.approx(48 * half_width, abs=2)
    assert np.ptp(rows) + 1 == pytest.approx(48 * half_height, abs=2)
    assert columns.mean() + 0.5 == pytest.approx(32 + 24 * x, abs=1)
    assert rows.mean() + 0.5 == pytest.approx(32 + 24 * y, abs=1)
    assert ((cover > 0.1) & (cover < 0.9)).any()


def test_a_scene_is_the_same_image_at_every_size() -> None:
    rng = Random(4)
    for _ in range(20):
        scene = random_scene(rng)
        assert scene.background is not None
        if scene.background.kind == "night":  # stars are whole pixels
            continue
        things = place(scene, rng)
        small = paint.image(things, scene.background, 64, Random(1))
        large = Image.fromarray(paint.image(things, scene.background, 256, Random(1))).resize(
            (64, 64), Image.Resampling.BOX
        )
        assert np.abs(small.astype(int) - np.asarray(large)).mean() < 3


def test_things_keep_off_the_border() -> None:
    rng = Random(2)
    for _ in range(300):
        for thing in place(random_scene(rng), rng):
            for at in (thing.x, thing.y):
                assert at - thing.radius >= MARGIN - 1e-6
                assert at + thing.radius <= 1 - MARGIN + 1e-6


def test_things_stand_nearest_to_where_the_layout_says() -> None:
    rng = Random(3)
    for _ in range(300):
        scene = random_scene(rng, pairs=0.5)
        placed = place(scene, rng)
        for (thing, where), at in zip(layout(scene), placed, strict=True):
            assert (thing.shape, thing.colour) == (at.shape, at.colour)
            nearest = min(PLACES, key=lambda name: (PLACES[name][0] - at.x) ** 2 + (PLACES[name][1] - at.y) ** 2)
            assert nearest == where or at.radius > 0.25  # large things cannot get as far to the side


def test_a_thing_near_the_border_is_cut_off_there() -> None:
    image = paint.image([Placed("square", "red", 0.0, 0.0, 0.2)], Background("plain", ("white",)), 64, Random(0))
    assert tuple(image[0, 0]) == COLOURS["red"]
    assert tuple(image[63, 63]) == COLOURS["white"]


@pytest.mark.parametrize("kind", SCENERY)
def test_colours_offered_for_scenery_stand_out_from_all_of_it(kind: str) -> None:
    background = Background(kind)
    rows = background.rows(128)
    for name in colours_on(background):
        assert np.linalg.norm(rows - np.array(COLOURS[name]) / 255, axis=1).min() > 0.35
