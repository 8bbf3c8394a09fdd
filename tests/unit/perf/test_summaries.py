"""Percentiles, throughput and advantages by hand-made records."""

from __future__ import annotations

import math

import pytest

from perf.summaries import Record, advantage, advantage_table, percentile_ms, summarize, summarize_all, summary_table


def record(latency_s: float, **changed: object) -> Record:
    values: dict[str, object] = {
        "scenario": "closed",
        "server": "ours",
        "round": 0,
        "num_inference_steps": 4,
        "started_s": 0.0,
        "latency_s": latency_s,
        "error": "",
    }
    return Record(**(values | changed))  # type: ignore[arg-type]


def test_percentiles_interpolate_between_neighbours() -> None:
    latencies_s = [0.3, 0.1, 0.2, 0.4]
    assert percentile_ms(latencies_s, 0) == pytest.approx(100)
    assert percentile_ms(latencies_s, 50) == pytest.approx(250)
    assert percentile_ms(latencies_s, 95) == pytest.approx(385)
    assert percentile_ms(latencies_s, 100) == pytest.approx(400)


def test_the_percentile_of_nothing_is_nan() -> None:
    assert math.isnan(percentile_ms([], 50))


def test_short_and_long_requests_are_summarized_apart() -> None:
    records = [record(0.1), record(0.2), record(5.0, num_inference_steps=50)]
    summary = summarize(records)
    assert summary.short_p50_ms == pytest.approx(150)
    assert summary.long_p50_ms == pytest.approx(5000)
    assert summary.requests == 3


def test_throughput_counts_from_the_first_request_to_the_last_response_of_each_round() -> None:
    records = [
        record(1.0, started_s=3.0),
        record(1.0, started_s=4.0),  # round 0: from 3 to 5
        record(6.0, started_s=1.0, round=1),  # round 1: from 1 to 7
    ]
    assert summarize(records).requests_per_s == pytest.approx(3 / (2 + 6))


def test_wrong_results_count_as_errors_and_nothing_else() -> None:
    summary = summarize([record(1.0), record(1.0, error="size (8, 8), asked for (64, 64)")])
    assert (summary.requests, summary.errors) == (2, 1)
    assert summary.requests_per_s == pytest.approx(1.0)
    assert summarize([record(0.01, error="seed")]).requests_per_s == 0


def test_summaries_are_grouped_by_scenario_and_server() -> None:
    records = [record(0.1), record(0.2, server="other"), record(0.3, scenario="open")]
    grouped = summarize_all(records)
    assert list(grouped) == ["closed", "open"]
    assert list(grouped["closed"]) == ["ours", "other"]
    assert grouped["open"]["ours"].short_p50_ms == pytest.approx(300)


def test_an_advantage_is_above_one_where_the_server_is_better() -> None:
    records = [
        record(0.1, round=0),
        record(1.0, round=0, server="other"),
        record(0.2, round=1),
        record(0.6, round=1, server="other"),
    ]
    latency = advantage(records, "ours", "other", "short_p50_ms")
    assert [latency.lowest, latency.highest] == pytest.approx([3, 10])
    assert latency.pooled == pytest.approx(0.8 / 0.15)
    throughput = advantage(records, "ours", "other", "requests_per_s")
    assert throughput.pooled == pytest.approx((2 / 0.3) / (2 / 1.6))
    assert advantage(records, "other", "ours", "requests_per_s").pooled < 1


def test_an_advantage_over_an_server_that_completed_nothing_is_unknown() -> None:
    records = [record(0.1), record(0.1, server="other", error="unavailable: the queue is full")]
    assert math.isnan(advantage(records, "ours", "other", "requests_per_s").pooled)


def test_tables_have_the_servers_in_the_order_of_their_titles() -> None:
    records = [record(0.2), record(0.1, server="other"), record(0.3, round=1), record(0.6, round=1, server="other")]
    titles = {"other": "FastAPI", "ours": "this server", "missing": "nobody"}
    lines = summary_table(summarize_all(records)["closed"], titles).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| FastAPI", "| this server"]
    compared = advantage_table(records, "ours", titles).splitlines()
    assert compared[0].startswith("| this server is better than")
    assert len(compared) == 3
    assert compared[2].startswith("| FastAPI | 1.40x (0.50 to 2.00)")
