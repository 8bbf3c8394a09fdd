"""Scenes whose things stand anywhere."""

from __future__ import annotations

from random import Random

import numpy as np

from checkpoint import captions, measure
from checkpoint.scattered import scattered, without_shapes


def test_a_scene_is_a_function_of_the_seed() -> None:
    first, again, other = (scattered(64, Random(seed), turned=0.5) for seed in (3, 3, 4))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.covers, again.covers)
    assert (first.caption, first.scene, first.things) == (again.caption, again.scene, again.things)
    assert not np.array_equal(first.image, other.image)


def test_things_stand_anywhere_and_do_not_touch_and_no_caption_says_where() -> None:
    rng = Random(0)
    shown = [scattered(64, rng) for _ in range(60)]
    middles = np.array([(thing.x, thing.y) for each in shown for thing in each.things])
    assert middles.min() < 0.22
    assert middles.max() > 0.78
    for each in shown:
        assert len(each.things) == sum(thing.count for thing in each.scene.things)
        assert captions.parse(each.caption) == each.scene
        assert each.scene.place is each.scene.relation is None
        assert each.covers.shape == (len(each.things), 64, 64)
        assert each.covers.sum(0).max(initial=0) < 1.3


def test_what_is_painted_is_what_the_caption_says() -> None:
    rng = Random(1)
    shown = [scattered(128, rng) for _ in range(30)]
    verdicts = [measure.judge(each.image, each.scene) for each in shown]
    assert np.mean([bool(verdict.background) for verdict in verdicts]) > 0.95
    assert np.mean([right for verdict in verdicts for _, right in verdict.shapes]) > 0.95


def test_turned_things_are_of_no_known_shape_and_are_not_named() -> None:
    rng = Random(2)
    shown = [scattered(128, rng, turned=1) for _ in range(30)]
    assert all(each.caption == without_shapes(each.caption) for each in shown)
    verdicts = [measure.judge(each.image, each.scene) for each in shown]
    assert np.mean([right for verdict in verdicts for _, right in verdict.shapes]) < 0.6
    assert all(cover.any() for each in shown for cover in each.covers)


def test_a_caption_without_shapes() -> None:
    assert without_shapes("two red crosses on blue") == "two red shapes on blue"
    assert without_shapes("a large heart above a ring") == "a large shape above a shape"
