"""From what is measured comes the line that the simulation plays, and what a device could do at most."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import pytest

from perf.launch_bound_checkpoint import make_launch_bound_checkpoint
from perf.policy import costs
from perf.policy.costs import FORWARD_ROWS, device_of, limit_per_s, measure_alone, measure_forwards
from perf.policy.simulation import Device
from perf.workload import LONG_STEPS, SHORT_STEPS

DEVICE = Device(6.0, 2.0, begin_ms=2.0, end_ms=4.0, step_ms=0.5)
FORWARDS = {rows: 6.0 + 2.0 * rows for rows in FORWARD_ROWS}


def test_what_was_measured_of_a_device_is_that_device() -> None:
    alone = {steps: 6.0 + steps * DEVICE.forward_ms(1) for steps in (SHORT_STEPS, LONG_STEPS)}
    assert astuple(device_of(FORWARDS, alone)) == pytest.approx(astuple(DEVICE))


def test_noise_makes_nothing_cost_less_than_nothing() -> None:
    device = device_of(FORWARDS, {SHORT_STEPS: 30.0, LONG_STEPS: 40.0})
    assert (device.begin_ms, device.end_ms, device.step_ms) == (0.0, 0.0, 0.0)


def test_the_limit_is_full_forwards_and_nothing_else() -> None:
    assert limit_per_s(FORWARDS) == pytest.approx(1000 * 8 / (38.0 * 17.8))


def test_a_checkpoint_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "LONG_STEPS", 12)
    make_launch_bound_checkpoint(tmp_path / "model", layers=1)
    assert set(measure_forwards(tmp_path / "model", 64, 1)) == set(FORWARD_ROWS)
    alone = measure_alone(tmp_path / "model", 64, 1)
    assert 0 < alone[SHORT_STEPS] < alone[12]
