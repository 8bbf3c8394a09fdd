"""The report of the simulation has every side under every load, and its targets are those of the default preference."""

from __future__ import annotations

from perf.policy.costs import FORWARD_ROWS
from perf.policy.simulated import QUICK, section
from perf.workload import LONG_STEPS, SHORT_STEPS


def test_every_side_is_there_under_every_load_and_the_targets_are_met_on_a_device_that_is_half_full() -> None:
    forwards = {rows: 6.0 + 2.2 * rows for rows in FORWARD_ROWS}
    found = section(QUICK, forwards, {SHORT_STEPS: 52.0, LONG_STEPS: 553.0})
    assert [len(by_side) for by_side in found.raw["summaries"].values()] == [7] * 4
    assert len(found.targets) == 5
    met = {target.meaning: target.met for target in found.targets}
    assert met["simulated, 80 %: short p95 <= 300 ms"]
    assert "a forward of 2 rows 10.4 ms" in found.paragraphs[0]
