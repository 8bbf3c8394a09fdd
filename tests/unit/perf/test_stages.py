"""The parts of a request add up to the whole."""

from __future__ import annotations

import pytest

from perf.stages import PROTOCOLS, STAGES, Settings, section, split

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
    parts = split(101.5, 100.0, SERVER_MS)
    assert list(parts) == list(STAGES)
    assert parts["transport"] == pytest.approx(1.5)
    assert parts["copy"] == pytest.approx(100 - 96.5)
    assert sum(parts.values()) == pytest.approx(101.5)


def test_the_table_has_every_stage_and_the_whole() -> None:
    found = section(Settings(), {name: [split(101.5, 100.0, SERVER_MS)] * 3 for name in PROTOCOLS}, {})
    text = found.paragraphs[-1]
    assert "| denoise | 80.00 | 78.8 % | 80.00 | 78.8 % |" in text
    assert "| **whole request** | 102 | 100.0 % |" in text
