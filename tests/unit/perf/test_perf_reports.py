"""Reports hold what was measured, say whether targets were met, and their JSON is valid."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from perf.figures import Record
from perf.frontend_report import ENSEMBLE, FRONTEND, STREAM, Streams, frontend_report
from perf.image_inputs_report import Memory, Times, image_inputs_report
from perf.mixed_report import Target, mixed_report
from perf.overhead_report import Pair, overhead, overhead_report, stage_medians
from perf.png_report import DEFAULT, Sample, cells, png_report
from perf.report import table, write_results

SURROUNDINGS: dict[str, Any] = {"cpu": "abacus, 2 beads", "command": "python -m perf", "versions": {"torch": "2"}}
LOADED = "closed loop, 2 clients"


def records(hub_s: float = 0.1) -> list[Record]:
    latencies_s = {"hub": hub_s, "serial": 1.0, "static": 0.3}
    return [
        Record(LOADED, engine, number, index, steps, 0.0, latency_s * steps, "")
        for engine, latency_s in latencies_s.items()
        for number in range(2)
        for index, steps in enumerate((4, 50))
    ]


def mixed(hub_s: float = 0.1) -> tuple[str, dict[str, Any]]:
    target = Target(LOADED, "serial", "requests_per_s", 2.5, "2.5 times serial")
    elsewhere = Target("open loop", "serial", "short_p95_ms", 10, "not measured here")
    return mixed_report(SURROUNDINGS, {"seed": 1}, {1: 0.01, 16: 0.02}, 2.0, records(hub_s), [target, elsewhere])


def pair(server_ms: float, direct_ms: float) -> Pair:
    stages_ms = {"encode": 1.0, "denoise": 90.0, "decode": 3.0, "postprocess": 2.0}
    return Pair(server_ms, direct_ms, stages_ms | {"preprocess": 0.5, "queue": 0.5}, stages_ms, "")


def test_a_table_has_as_many_cells_in_each_line() -> None:
    lines = table(("engine", "ms", "n"), [("hub", 12.344, 3), ("none", math.nan, 0), ("slow", 1234.5, 1)]).splitlines()
    assert lines == [
        "| engine | ms | n |",
        "| --- | ---: | ---: |",
        "| hub | 12.34 | 3 |",
        "| none | none | 0 |",
        "| slow | 1234 | 1 |",
    ]


def test_the_mixed_report_has_all_its_parts() -> None:
    markdown, raw = mixed()
    for part in ("abacus, 2 beads", "python -m perf", "torch 2", "seed 1", "16: 20.0 ms", "2.00 requests/s"):
        assert part in markdown
    for engine in ("hub", "serial", "static"):
        assert f"| {engine} |" in markdown
    assert raw["summaries"][LOADED]["hub"]["short_p50_ms"] == pytest.approx(400)
    assert len(raw["records"]) == 12
    assert raw["record_columns"] == list(asdict(records()[0]))


@pytest.mark.parametrize(("hub_s", "verdict"), [(0.1, "| met |"), (0.5, "| NOT met |")])
def test_a_target_is_stated_next_to_what_was_reached(hub_s: float, verdict: str) -> None:
    markdown, raw = mixed(hub_s)
    assert verdict in markdown
    assert raw["targets"][0]["reached"]["pooled"] == pytest.approx(1 / hub_s)


def test_a_target_for_a_load_that_was_not_measured_is_left_out() -> None:
    markdown, raw = mixed()
    assert "not measured here" not in markdown
    assert len(raw["targets"]) == 1


def test_overhead_is_the_median_of_the_pairs_differences() -> None:
    """A machine that gets slower half way through does not count as overhead."""
    cost = overhead([pair(110, 100), pair(210, 200), pair(411, 400), pair(510, 500), pair(900, 400)])
    assert (cost.server_ms, cost.direct_ms) == (411, 400)
    assert (cost.lower_ms, cost.difference_ms, cost.upper_ms) == (10, 10, 11)
    assert cost.percent == pytest.approx(2.5)
    assert cost.within_target


def test_neither_few_milliseconds_nor_few_percent_is_outside_the_target() -> None:
    cost = overhead([pair(110, 100), pair(111, 101)])
    assert not cost.within_target


@pytest.mark.parametrize(("server_ms", "direct_ms"), [(14, 10), (1040, 1000), (90, 100)])
def test_few_milliseconds_or_few_percent_are_within_the_target(server_ms: float, direct_ms: float) -> None:
    assert overhead([pair(server_ms, direct_ms)]).within_target


def test_transport_is_what_the_stages_leave() -> None:
    medians = stage_medians([pair(100, 96)])
    assert medians["transport"][0] == pytest.approx(3)
    assert medians["denoise"] == (90, 90)
    assert medians["queue"] == (0.5, 0)


def test_the_overhead_report_has_all_its_parts() -> None:
    markdown, raw = overhead_report(SURROUNDINGS, {"steps": 20}, [pair(100, 96), pair(102, 98)])
    for part in ("abacus, 2 beads", "steps 20", "| server, median | 101 |", "| direct, median | 97.00 |", ": met."):
        assert part in markdown
    assert len(raw["pairs"]) == 2


def test_results_are_written_as_markdown_and_valid_json(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    markdown, raw = write_results(folder, "mixed_load", "# Report\n", {"forward_s": {16: 0.02}, "p50": math.nan})
    assert markdown.read_text() == "# Report\n"
    assert json.loads(raw.read_text()) == {"forward_s": {"16": 0.02}, "p50": None}


def samples(slow_ms: float, size: int) -> list[Sample]:
    return [
        Sample(encoder, "natural", "1280x720", milliseconds * turn, file_bytes)
        for turn in (1, 2, 30)
        for encoder, milliseconds, file_bytes in (
            ("imageio default", slow_ms, 800),
            ("Pillow level 1", 20.0, 1000),
            (DEFAULT, 5.0, size),
        )
    ]


def test_encoders_are_compared_by_medians_and_by_the_bytes_of_level_1() -> None:
    row = cells(samples(60, 950))["1280x720"]["natural"]
    assert (row[DEFAULT].milliseconds, row[DEFAULT].relative_bytes) == (10, 0.95)
    assert row["imageio default"].milliseconds == 120


@pytest.mark.parametrize(
    ("slow_ms", "size", "four_s", "verdicts"),
    [
        (60, 1100, 0.024, ["met", "met"]),
        (60, 1101, 0.024, ["NOT met", "met"]),
        (49, 900, 0.024, ["NOT met", "met"]),
        (60, 900, 0.025, ["met", "NOT met"]),
    ],
)
def test_the_png_report_states_its_targets(slow_ms: float, size: int, four_s: float, verdicts: list[str]) -> None:
    counted_s = {1: [0.01, 0.01, 1.0], 4: [four_s, four_s, 2.0]}
    markdown, raw = png_report(SURROUNDINGS, {"rounds": 3}, samples(slow_ms, size), counted_s)
    assert [line.split(" | ")[-1].rstrip(" |") for line in markdown.splitlines() if line.endswith("met |")] == verdicts
    assert len(raw["samples"]) == 9


@pytest.mark.parametrize(
    ("text_ms", "last_mib", "verdicts"),
    [
        (0.5, 104, ["under 1 ms: met", "+4.0 %", "under 5 %: met"]),
        (1.5, 106, ["under 1 ms: missed", "under 5 %: missed"]),
    ],
)
def test_the_image_inputs_report_judges_medians_and_growth(text_ms: float, last_mib: int, verdicts: list[str]) -> None:
    times = {
        "text-to-image": Times([text_ms, text_ms, 99.0], [0.1, 0.1, 0.1]),
        "base64 JPEG": Times([14.0], [13.0]),
        "PNG": Times([60.0], [59.0]),
    }
    memory = Memory([500, 2500, 5000], [100 * 2**20, 200 * 2**20, last_mib * 2**20], first=500, last=5000)
    report, raw = image_inputs_report(SURROUNDINGS, {"requests": 3}, [0.25], times, memory)
    for part in [*verdicts, "under 15 ms: met", "0.25 ms (median)", "abacus, 2 beads"]:
        assert part in report
    assert json.loads(json.dumps(raw))["memory"]["last"] == 5000


@pytest.mark.parametrize(("cost_ms", "verdict"), [(3.9, ": met"), (4.1, ": NOT met")])
def test_the_frontends_cost_is_the_median_of_differences(cost_ms: float, verdict: str) -> None:
    grpc_ms = [100.0, 200.0, 900.0]
    times = {ENSEMBLE: [ms - 5 for ms in grpc_ms], STREAM: grpc_ms, FRONTEND: [ms + cost_ms for ms in grpc_ms]}
    streams = Streams(200, 200, 80 * 10**6, 200 * 10**6, {"0.025": 99, "+Inf": 100})
    markdown, raw = frontend_report(SURROUNDINGS, {}, times, 1.5, streams)
    assert raw["over_ms"][STREAM]["median"] == pytest.approx(cost_ms)
    assert f"over the gRPC call that it makes{verdict}" in markdown
    assert "Target: under 300 MB: met." in markdown
    assert streams.punctual_percent == 99
