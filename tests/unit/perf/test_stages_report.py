"""The parts of a request add up to the whole, or the report says by how much they do not."""

from __future__ import annotations

from typing import Any

import pytest

from perf.stages_report import PROTOCOLS, STAGES, split, stages_report

SURROUNDINGS: dict[str, Any] = {"cpu": "abacus, 2 beads", "command": "python -m perf", "versions": {"torch": "2"}}
SERVER_MS = {
    "preprocess": 1.0,
    "queue": 0.5,
    "encode": 5.0,
    "denoise": 80.0,
    "decode": 8.0,
    "diffusion": 95.0,
    "postprocess": 2.0,
}


def test_a_request_is_split_without_a_rest() -> None:
    parts = split(0.5, 101.0, 100.0, SERVER_MS)
    assert list(parts) == list(STAGES)
    assert parts["transport"] == pytest.approx(1)
    assert parts["copy"] == pytest.approx(100 - 96.5)
    assert sum(parts.values()) == pytest.approx(101.5)


@pytest.mark.parametrize(("whole_ms", "met"), [(101.5, True), (120.0, False)])
def test_the_sum_is_compared_with_other_whole_requests(whole_ms: float, met: bool) -> None:
    parts = {name: [split(0.5, 101.0, 100.0, SERVER_MS)] * 3 for name in PROTOCOLS}
    markdown, raw = stages_report(SURROUNDINGS, {}, {name: [whole_ms] * 3 for name in PROTOCOLS}, parts)
    assert raw["met"] is met
    assert ("NOT met" not in markdown) is met
    assert "| denoise | 80.00 |" in markdown
