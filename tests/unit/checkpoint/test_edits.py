"""Edits: what is painted before and after, and what asks for it."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from checkpoint import measure
from checkpoint.edits import random_edit

KINDS = ("colour", "background", "outline")


def test_an_edit_is_a_function_of_the_seed() -> None:
    first, again, other = (random_edit(64, Random(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.before, again.before)
    assert np.array_equal(first.after, again.after)
    assert first.instruction == again.instruction
    assert not np.array_equal(first.before, other.before)
    rng = Random(0)
    assert {random_edit(32, rng).kind for _ in range(40)} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_asked_for_changes(kind: str) -> None:
    rng = Random(kind)
    for _ in range(20):
        edit = random_edit(128, rng, kind)
        assert edit.kind == kind
        changed = (edit.before != edit.after).any(2)
        assert changed.any()
        if kind == "background":
            corners = changed[:: len(changed) - 1, :: len(changed) - 1]
            assert corners.any()
            middles = [(int(thing.y * 128), int(thing.x * 128)) for thing in edit.things if thing.shape != "ring"]
            assert not any(changed[middle] for middle in middles)
        else:
            assert not changed[0].any()
            assert changed.mean() < 0.5
        if kind == "colour":
            assert edit.instruction.startswith("make the ")
            assert any(edit.instruction.endswith(thing.colour) for thing in edit.scene.things)


@pytest.mark.parametrize("kind", ["colour", "background"])
def test_the_later_image_shows_the_scene_that_it_says(kind: str) -> None:
    rng = Random(kind)
    verdicts = [measure.judge(edit.after, edit.scene) for edit in (random_edit(128, rng, kind) for _ in range(30))]
    assert np.mean([bool(verdict.background) for verdict in verdicts]) > 0.95
    assert np.mean([bool(verdict.colour) for verdict in verdicts]) > 0.95
