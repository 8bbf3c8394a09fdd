"""Each micro-benchmark's section judges medians, and sees images that differ."""

from __future__ import annotations

import pytest

from perf import frontend, image_inputs, png
from perf.frontend import FRONTEND, STREAM
from perf.turns import Turn


@pytest.mark.parametrize(
    ("slow_ms", "relative_bytes", "met"), [(60.0, 1.1, True), (60.0, 1.11, False), (49.0, 0.9, False)]
)
def test_png_is_to_be_fast_and_small(slow_ms: float, relative_bytes: float, met: bool) -> None:
    row = {
        png.SLOW: png.Encoded(slow_ms, 800, 0.8),
        png.LEVEL_1: png.Encoded(20.0, 1000, 1.0),
        png.OURS: png.Encoded(5.0, 900, relative_bytes),
    }
    found = png.section(png.QUICK, {"1280x720": {"natural": row}})
    assert [target.met for target in found.targets] == [met]
    assert f"| {png.OURS} | 5.0 ms, 1 kB ({relative_bytes:.2f}) |" in found.paragraphs[-1]


def test_image_inputs_are_judged_by_the_clients_median() -> None:
    def turns(*client_ms: float) -> list[Turn[float]]:
        return [Turn(ms, 0.1) for ms in client_ms]

    times = {image_inputs.PING: turns(0.2), "text-to-image": turns(0.5, 0.5, 99.0), "base64 JPEG": turns(16.0)}
    found = image_inputs.section(image_inputs.QUICK, times, {})
    assert [target.met for target in found.targets] == [True, False]


@pytest.mark.parametrize(("cost_ms", "met"), [(3.9, True), (4.1, False)])
def test_the_frontends_cost_is_the_median_of_differences(cost_ms: float, met: bool) -> None:
    grpc_ms = [100.0, 200.0, 900.0]
    turns = {STREAM: [Turn(ms, b"") for ms in grpc_ms], FRONTEND: [Turn(ms + cost_ms, b"") for ms in grpc_ms]}
    settings = frontend.Settings(streams=2)
    found = frontend.section(settings, turns, 2, 200 * 10**6, {})
    assert [target.met for target in found.targets] == [met, True]
    assert found.faults == []


def test_another_image_and_a_stream_without_one_are_faults() -> None:
    turns = {STREAM: [Turn(1.0, b"one")], FRONTEND: [Turn(1.0, b"other")]}
    found = frontend.section(frontend.Settings(streams=2), turns, 1, 400 * 10**6, {})
    assert len(found.faults) == 2
    assert found.targets[1].met is False
