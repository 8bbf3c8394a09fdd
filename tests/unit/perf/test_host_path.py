"""A tick of the engine beside its forward: it is found between two forwards, and stays within its budget of calls."""

from __future__ import annotations

from checkpoint import BUNDLED
from perf.host_path import APART, QUICK, TOGETHER, Settings, Tick, measure, section

# Calls of functions of Python and C, a little more than there are: 314 and 205, of which the pipeline's loop and the
# scheduler's step are more than half. What is added here each request pays in each step.
_MOST_CALLS_ALONE = 330
_MOST_CALLS_OF_ANOTHER = 225


def test_a_tick_stays_within_its_budget_of_calls() -> None:
    """Another took 335 before a call was described, and a scheduler's step compared, the short way."""
    found = measure(Settings(rows=(1, 9), steps=6, forward_ms=0.0), BUNDLED)
    calls = {(tick["rows"], tick["load"]): tick["calls"] for tick in found.raw["ticks"]}
    assert calls[1, TOGETHER] <= _MOST_CALLS_ALONE
    assert calls[9, APART] <= _MOST_CALLS_ALONE + 8 * _MOST_CALLS_OF_ANOTHER


def test_the_report_has_the_share_of_a_tick() -> None:
    ticks = [Tick(load, 4, 0.5, 0.6, 800.0) for load in (TOGETHER, APART)]
    found = section(Settings(), ticks)
    assert "| 4 | apart | 0.50 | 0.60 | 20 | 800 | 200 |" in "\n".join(found.paragraphs)
    assert QUICK.steps < Settings().steps
