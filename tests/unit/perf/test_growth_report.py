"""Growth is named by its power, and the report has every series."""

from __future__ import annotations

import math
from typing import Any

import pytest

from perf.figures import Summary
from perf.growth_report import Asked, Growth, growth_exponent, growth_report
from perf.occupancy import Moment

SURROUNDINGS: dict[str, Any] = {"cpu": "abacus, 2 beads", "command": "python -m perf", "versions": {"torch": "2"}}


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_the_power_of_a_power_law(power: float) -> None:
    assert growth_exponent({x: 3.0 * x**power for x in (1, 2, 5, 50)}) == pytest.approx(power, abs=1e-9)


def test_one_point_has_no_power() -> None:
    assert math.isnan(growth_exponent({1: 2.0}))


def test_the_report_has_every_series() -> None:
    asked = Asked(100.0, 5.0, 4.0)
    growth = Growth(
        single={"steps": {1: [10.0, 10.0], 10: [100.0]}, "side_px": {64: [10.0], 128: [40.0]}, "n": {1: [7.0]}},
        concurrency={4: ([asked, asked], 0.5)},
        capacity_per_s=2.0,
        loads={0.8: Summary(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7, 0)},
        spans={0.8: (10.0, 12.0)},
        moments=[Moment(10.0, 0, 0, 0), Moment(11.0, 10, 40, 2)],
        in_flight={50: ([asked], 1.0)},
        hit_rates={0.5: [asked]},
    )
    markdown, raw = growth_report(SURROUNDINGS, {}, growth)
    for part in (
        "steps to the power of 1.00",
        "the area to the power of 1.00",
        "| 4 | 4.00 |",
        "| 80% |",
        "| 50% | 5.00",
    ):
        assert part in markdown
    assert raw["occupancy"] == [(1.0, 4.0, 2)]
    assert raw["spans_s"] == {"0.8": [0.0, 2.0]}
    assert "Failed requests: 0." in markdown
