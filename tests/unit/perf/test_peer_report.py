"""The peers' report compares with the best peer of each kind, and says who was left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from perf.figures import Record
from perf.peer_plan import Plan
from perf.peer_report import peer_report, reached_targets

SURROUNDINGS: dict[str, Any] = {"cpu": "abacus, 2 beads", "command": "python -m perf", "versions": {"torch": "2"}}
PLAN = Plan(2.0, 0.8, 4, 2, 1)
LATENCIES_S = {"hub": 0.1, "fastapi": 2.0, "litserve": 1.0, "bentoml": 0.5}


def records(latencies_s: dict[str, float], repeats: int = 15) -> list[Record]:
    return [
        Record(scenario, engine, 0, index, steps, 0.0, latency_s, "")
        for scenario in (PLAN.open_name, PLAN.closed_name)
        for engine, latency_s in latencies_s.items()
        for index, steps in enumerate((4, 50) * repeats)
    ]


def test_each_target_is_about_the_best_of_its_kind() -> None:
    reached = reached_targets(PLAN, records(LATENCIES_S))
    assert [one.other for one in reached] == ["fastapi", "bentoml", "bentoml", "fastapi"]
    assert [one.advantage.pooled for one in reached] == pytest.approx([20, 5, 5, 20])
    assert [one.verdict for one in reached] == ["met", "NOT met", "met", "met"]


def test_a_peer_without_a_right_answer_is_not_the_best() -> None:
    wrong = [replace(one, error="wrong" if one.engine == "bentoml" else "") for one in records(LATENCIES_S)]
    assert [one.other for one in reached_targets(PLAN, wrong)] == ["fastapi", "litserve", "litserve", "fastapi"]


def test_a_handful_of_requests_gives_no_verdict() -> None:
    reached = reached_targets(PLAN, records(LATENCIES_S, repeats=2))
    assert {one.verdict for one in reached} == {"too few requests for a verdict"}


def test_without_batching_peers_their_target_is_left_out() -> None:
    reached = reached_targets(PLAN, records({"hub": 0.1, "fastapi": 2.0}))
    assert [one.other for one in reached] == ["fastapi"] * 3


def test_the_report_names_all_and_says_who_is_missing() -> None:
    parameters = {"checkpoint": "bundled", "side_px": 128}
    markdown, raw = peer_report(
        SURROUNDINGS,
        parameters,
        PLAN,
        {2: 0.01, 16: 0.04},
        records(LATENCIES_S),
        {"ray_serve": "no room"},
        {"litserve": 3.0},
    )
    for part in (
        "| this server |",
        "| BentoML |",
        "20.00x",
        "NOT met",
        "- Ray Serve: no room",
        "LitServe 3.0 %",
        "2.00 times as fast",
    ):
        assert part in markdown
    assert len(raw["records"]) == 16 * 15
    assert raw["plan"]["open_name"] in raw["summaries"]
