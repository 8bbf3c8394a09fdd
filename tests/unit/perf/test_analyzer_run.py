"""Runs of perf_analyzer are asked for, and their files read, as version 2.51 wants and writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagegen_client.transport import MODEL, STREAM_MODEL
from perf import analyzer_run
from perf.analyzer_inputs import BASE64, TEXT
from perf.analyzer_run import CONCURRENCY, RATE, Load, analyzer_command, read_row, reason, run_analyzer

CLOSED = Load(MODEL, BASE64, "grpc", CONCURRENCY, 4, 12)
POISSON = Load(MODEL, TEXT, "http", RATE, 7.25, 12)
STREAM = Load(STREAM_MODEL, TEXT, "grpc", CONCURRENCY, 4, 12)

# Stands in for the program, which need not be installed here: it writes what version 2.51 writes.
STAND_IN = """#!/bin/sh
while [ $# -gt 0 ]; do [ "$1" = -f ] && csv=$2; shift; done
columns="Concurrency,Inferences/Second,Client Send,Server Queue,Avg latency"
printf '%s\\n2,9.5,100,1000,116989\\n' "$columns" > "$csv"
for model in diffusion image_preprocess; do printf '%s\\n2,9.5,0,1500,\\n' "$columns" > "${model}_v1.$csv"; done
echo "    [WARNING] Perf Analyzer was not able to keep up with the desired request rate. 10.50% of the requests were \
delayed. "
"""
FAILING = """#!/bin/sh
echo "Request concurrency: 2"
echo "Failed to maintain requested inference load. Worker thread(s) failed to generate concurrent requests."
echo "Thread [0] had error: invalid_argument: size: 1x1"
echo
exit 99
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "perf_analyzer"
    path.touch(mode=0o755)
    monkeypatch.setattr(analyzer_run, "PROGRAM", path)
    return path


def value_of(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


def test_runs_of_different_loads_have_different_files() -> None:
    assert [load.name for load in (CLOSED, POISSON, STREAM)] == [
        "image-to-image-base64-grpc-c4",
        "text-to-image-http-r7.25",
        "stream-text-to-image-grpc-c4",
    ]


def test_a_concurrency_or_a_poisson_rate_is_asked_for() -> None:
    closed, poisson = (analyzer_command(load, "here:1", Path("in.json")) for load in (CLOSED, POISSON))
    assert value_of(closed, "--concurrency-range") == "4"
    assert value_of(poisson, "--request-rate-range") == "7.25"
    assert value_of(poisson, "--request-distribution") == "poisson"
    assert value_of(poisson, "--request-count") == "12"
    assert not {"--request-rate-range", "--request-count"} & set(closed)
    assert "--streaming" not in closed
    assert (value_of(closed, "-i"), value_of(closed, "-u"), value_of(closed, "--measurement-request-count")) == (
        "grpc",
        "here:1",
        "4",
    )


def test_streams_are_asked_for_as_streams() -> None:
    assert "--streaming" in analyzer_command(STREAM, "here:1", Path("in.json"))


def test_a_run_is_read_from_its_files(program: Path, tmp_path: Path) -> None:
    program.write_text(STAND_IN)
    measured = run_analyzer(POISSON, "here:1", Path("in.json"), tmp_path)
    assert measured.fault == ""
    assert measured.columns == {
        "Concurrency": 2,
        "Inferences/Second": 9.5,
        "Client Send": 0.1,
        "Server Queue": 1,
        "Avg latency": pytest.approx(116.989),
    }
    assert {model: columns["Server Queue"] for model, columns in measured.composing.items()} == {
        "diffusion": 1.5,
        "image_preprocess": 1.5,
    }
    assert measured.delayed_percent == 10.5
    assert "WARNING" in (tmp_path / "text-to-image-http-r7.25.log").read_text()


def test_a_failed_run_says_why(program: Path, tmp_path: Path) -> None:
    program.write_text(FAILING)
    measured = run_analyzer(CLOSED, "here:1", Path("in.json"), tmp_path)
    assert measured.fault == "invalid_argument: size: 1x1"
    assert not measured.columns


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("error: failed to get model metadata: Couldn't connect\n\n", "failed to get model metadata: Couldn't connect"),
        ("Error: request-count not supported\nUsage: …", "request-count not supported"),
        ("one\ntwo\nthree", "one · two · three"),
        ("", ""),
    ],
)
def test_the_reason_is_the_first_error(printed: str, expected: str) -> None:
    assert reason(printed) == expected


def test_counts_are_not_taken_for_times(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("Request Rate,Inferences/Second,p95 latency\n20,19.5,2500\n")
    assert read_row(tmp_path / "x.csv") == {"Request Rate": 20, "Inferences/Second": 19.5, "p95 latency": 2.5}
