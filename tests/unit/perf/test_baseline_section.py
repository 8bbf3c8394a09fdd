"""The comparison's section compares with the best baseline of each kind, and says which were left out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perf.baseline_section import OWN, Found, Settings, reached_targets, section
from perf.summaries import Record

SETTINGS = Settings()
LATENCIES_S = {OWN: 0.1, "fastapi": 2.0, "engine_library": 0.11, "litserve": 1.0, "bentoml": 0.5}


def records(latencies_s: dict[str, float], repeats: int = 15) -> list[Record]:
    return [
        Record(scenario, server, 0, steps, 0.0, latency_s, "")
        for scenario in (SETTINGS.open_name, SETTINGS.closed_name)
        for server, latency_s in latencies_s.items()
        for steps in (4, 50) * repeats
    ]


def against(found: list[Record]) -> list[str]:
    return [target.reached.partition("(")[2].rstrip(")") for target in reached_targets(SETTINGS, found)]


def test_each_target_is_about_the_best_of_its_kind_but_for_our_own_engine() -> None:
    targets = reached_targets(SETTINGS, records(LATENCIES_S))
    assert against(records(LATENCIES_S)) == ["FastAPI", "BentoML", "BentoML", "FastAPI"]
    assert [target.reached.partition(" ")[0] for target in targets] == ["20.00x", "5.00x", "5.00x", "20.00x"]
    assert [target.met for target in targets] == [True, False, True, True]


def test_a_baseline_without_a_right_result_is_not_the_best() -> None:
    wrong = [replace(one, error="wrong" if one.server == "bentoml" else "") for one in records(LATENCIES_S)]
    assert against(wrong) == ["FastAPI", "LitServe", "LitServe", "FastAPI"]


def test_a_handful_of_requests_gives_no_verdict() -> None:
    assert {target.met for target in reached_targets(SETTINGS, records(LATENCIES_S, repeats=2))} == {None}


def test_without_batching_baselines_their_target_is_left_out() -> None:
    assert against(records({OWN: 0.1, "fastapi": 2.0})) == ["FastAPI"] * 3


def test_the_section_names_all_and_says_what_is_missing() -> None:
    found = Found({2: 0.01, 16: 0.04}, 2.0, records(LATENCIES_S), {"ray_serve": "no room"})
    made = section(SETTINGS, found, {})
    text = "\n".join(made.paragraphs)
    for part in ("| this server |", "| BentoML |", "| FastAPI with our engine |", "2.00 times as fast"):
        assert part in text
    assert made.faults == ["Ray Serve was left out: no room"]
    assert made.plot is not None
    assert len(made.raw["records"]) == 2 * 5 * 30


@pytest.mark.parametrize("launch_bound", [False, True])
def test_targets_name_their_checkpoint(launch_bound: bool) -> None:
    settings = replace(SETTINGS, launch_bound=launch_bound)
    name = "launch-bound" if launch_bound else "bundled"
    assert all(target.meaning.startswith(name) for target in reached_targets(settings, records(LATENCIES_S)))


def test_with_adapters_the_targets_are_about_a_lock_and_set_adapters() -> None:
    settings = replace(SETTINGS, adapters=8, baselines=("fastapi",))
    targets = reached_targets(settings, records({OWN: 0.1, "fastapi": 1.0}))
    assert [(target.reached.partition(" ")[0], target.met) for target in targets] == [("10.00x", True)] * 2
    assert all("8 adapters" in target.meaning and "set_adapters" in target.meaning for target in targets)
    text = "\n".join(section(settings, Found({2: 0.01}, 2.0, records({OWN: 0.1, "fastapi": 1.0}), {}), {}).paragraphs)
    assert "Each request has one of 8 LoRA adapters" in text


def test_with_controls_the_targets_are_those_of_the_plain_mix_and_the_text_says_who_shares_what() -> None:
    settings = replace(SETTINGS, controls=True, baselines=("fastapi", "litserve"))
    found = records({OWN: 0.1, "fastapi": 1.0, "litserve": 0.5})
    targets = reached_targets(settings, found)
    assert [target.reached for target in targets] == [
        "10.00x (FastAPI)",
        "5.00x (LitServe)",
        "5.00x (LitServe)",
        "10.00x (FastAPI)",
    ]
    assert all("half with a control image" in target.meaning for target in targets)
    text = "\n".join(section(settings, Found({2: 0.01}, 2.0, found, {}), {}).paragraphs)
    assert "Half of the requests, of the short ones as of the long ones, have a control image" in text
    assert "StableDiffusionControlNetPipeline that share weights" in text
