"""Steps are measured with and without files being read, and a gap that is longer than a forward misses the target."""

from __future__ import annotations

import math
from pathlib import Path

from perf.adapters import loads
from perf.adapters.loads import Settings, Steps, section, steps
from perf.adapters.watch import Gaps
from tests.unit import tiny_pipelines as tiny


def test_a_short_measurement(tmp_path: Path) -> None:
    tiny.sd().save_pretrained(tmp_path)
    found = loads.measure(Settings(rounds=1, steps=15, rank=2, files=1, side_px=32), tmp_path)
    assert found.raw["quiet"]["gaps"]["readings"] == 0
    assert found.raw["quiet"]["gaps"]["forwards"] == 14  # steps with another one behind them
    assert [target.met for target in found.targets] == [None, None]


def test_only_steps_during_which_something_was_read_count() -> None:
    forwards = [(0.0, 1.0), (1.5, 2.0), (2.1, 2.2), (5.0, 5.1)]
    disturbed = steps([(forwards, [(1.6, 1.7)])], reading=True)
    assert (disturbed.gaps.forwards, round(disturbed.longest_ms)) == (1, 600)
    assert steps([(forwards, [])]).gaps.forwards == 3
    assert round(steps([(forwards, []), ([(0.0, 9.0), (9.0, 9.5)], [])]).gaps.longest_forward) == 9000
    assert math.isnan(steps([]).median_ms)


def found_of(gap: float, step: float) -> list[bool | None]:
    quiet = Steps(20.0, 30.0, Gaps(28.0, math.nan, 2.0, 900, 0))
    reading = Steps(25.0, step, Gaps(60.0, gap, 2.0, 900, 9))
    return [target.met for target in section(Settings(), quiet, reading, 10).targets]


def test_targets() -> None:
    assert found_of(gap=27.0, step=47.0) == [True, True]
    assert found_of(gap=29.0, step=49.0) == [False, False]
