"""Both sides make the same images, and the report compares them round by round."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from perf.adapters import lock
from perf.adapters.lock import QUICK, Round, Settings, section
from tests.unit import tiny_pipelines as tiny


def test_both_sides_make_the_same_images(tmp_path: Path) -> None:
    tiny.sd().save_pretrained(tmp_path)
    found = lock.measure(replace(QUICK, adapters=2, requests=4), tmp_path)
    assert found.raw["levels"] <= 2
    assert len(found.raw["requests_per_s"]) == 1


def test_seven_in_ten_are_short() -> None:
    settings = Settings(short_steps=4, long_steps=50)
    assert [settings.steps(number) for number in range(10)].count(4) == 7


def test_targets() -> None:
    frame = np.zeros((2, 2, 3), np.uint8)
    slow, fast = Round(1.0, 900.0, {0: frame}), Round(2.0, 300.0, {0: frame})
    other = Round(2.0, 300.0, {0: np.full_like(frame, 3)})
    assert [target.met for target in section(QUICK, [(slow, fast)]).targets] == [True, True]
    assert [target.met for target in section(QUICK, [(fast, slow)]).targets] == [False, True]
    assert [target.met for target in section(QUICK, [(slow, other)]).targets] == [True, False]
