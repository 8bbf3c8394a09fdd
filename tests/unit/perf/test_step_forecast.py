"""The measurement of the step cache runs to its end, and its distances are those of the definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from checkpoint import BUNDLED
from imagegen.engine import Engine
from perf import step_forecast


def test_a_distance_is_the_peak_signal_to_noise_ratio() -> None:
    reference = np.full((2, 4, 4, 3), 100, np.uint8)
    frames = reference.copy()
    frames[1] += 5
    far = step_forecast.distance(frames, reference, 20)
    assert far.lowest_db == pytest.approx(10 * np.log10(255**2 / 25))
    assert far.levels == 2.5
    assert far.psnr_db > far.lowest_db


def test_captions_are_those_of_the_seed() -> None:
    assert step_forecast.prompts(3, 1) == step_forecast.prompts(5, 1)[:3] != step_forecast.prompts(3, 2)


def test_it_measures_and_says_what_was_reached() -> None:
    section = step_forecast.measure(step_forecast.QUICK, BUNDLED)
    assert set(section.raw["distances"]["ddim"]) >= {"fine", "balanced", "fast"}
    assert len(section.targets) == 5
    assert all(rate > 0 for rates in section.raw["requests_per_s"].values() for rate in rates)


def test_a_sheet_has_a_row_for_each_step_cache() -> None:
    settings = replace(step_forecast.QUICK, side_px=32)
    with Engine.load(BUNDLED, warmup_sizes="none", cpu_threads=1) as engine:
        made = step_forecast.sheet(engine, ["a red circle"], settings)
    assert made.size == (76 + 36, 5 * 36)
