"""Growth is named by its power, and the report has every series."""

from __future__ import annotations

import math

import pytest

from perf.scaling import SERIES, Settings, growth_exponent, section


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_the_power_of_a_power_law(power: float) -> None:
    assert growth_exponent({x: 3.0 * x**power for x in (1, 2, 5, 50)}) == pytest.approx(power, abs=1e-9)


def test_one_point_has_no_power() -> None:
    assert math.isnan(growth_exponent({1: 2.0}))


def test_the_report_has_every_series() -> None:
    single_ms = {
        f"{series} {value}": [2.0 * value, 2.0 * value] for series, values in SERIES.items() for value in values
    }
    found = section(Settings(), single_ms, {})
    text = "\n".join(found.paragraphs)
    for part in ("n to the power of 1.00", "the area to the power of 0.50", "num_inference_steps to the power of 1.00"):
        assert part in text
    assert "| 50 | 100 | 2.00 |" in text
