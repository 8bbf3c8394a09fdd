"""A short soak: every request gets its outcome, no bound is exceeded, nothing is left."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest

from perf.adapters import soak
from perf.adapters.soak import Found, Settings, section
from perf.adapters.soak_run import Tally
from perf.adapters.watch import Gaps, Held
from tests.unit import tiny_pipelines as tiny

SHORT = Settings(requests=100, clients=18, staying=9, moving=3, known=16, side_px=32, max_loras=4)


@pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's, about what a tiny pipeline has not
def test_a_hundred_requests(tmp_path: Path) -> None:
    tiny.sd().save_pretrained(tmp_path)
    found = soak.measure(SHORT, tmp_path)
    assert list(found.faults) == []
    outcomes = found.raw["outcomes"]
    assert sum(outcomes.values()) == SHORT.requests
    assert set(outcomes) >= {"image, compared", "image", "InvalidArgument", "Cancelled"}
    assert found.raw["held"]["adapters"] > 1
    assert found.raw["gaps"]["readings"] > SHORT.staying
    assert [target.met for target in found.targets] == [True, True, None]


def found_of(
    rss: tuple[int, int] = (1000, 1000), wrong: int = 0, adapters: int = 4, left: tuple[str, ...] = ()
) -> Found:
    tally = Tally(Counter(image=10), ["wrong: x"] * wrong, wrong)
    gaps = Gaps(1.0, math.nan, 1.0, 5, 0)
    return Found(tally, Held(adapters, 5, 5, 9), {"adapters": 4, "device_bytes": 5}, rss, gaps, 1.0, left)


def test_a_soak_without_faults_is_well() -> None:
    well = section(Settings(), found_of())
    assert list(well.faults) == []
    assert [target.met for target in well.targets] == [True, True, True]


@pytest.mark.parametrize(
    ("found", "met", "faults"),
    [
        (found_of(wrong=2), [False, True, True], ["wrong: x", "wrong: x"]),
        (found_of(adapters=5), [True, False, True], ["adapters: 5 of 4 at most"]),
        (found_of(rss=(1000, 1040)), [True, True, False], []),
        (found_of(left=("1 requests that wait",)), [True, True, True], ["1 requests that wait"]),
    ],
)
def test_what_is_wrong_is_named(found: Found, met: list[bool], faults: list[str]) -> None:
    made = section(Settings(), found)
    assert [target.met for target in made.targets] == met
    assert list(made.faults) == faults
