"""What was seen of ends is turned into numbers, and every condition that is missed is named."""

from __future__ import annotations

from typing import Any

import pytest

from perf.engine_crashes.judgement import COLUMNS, Record
from perf.engine_crashes.outcomes import End, Outcome, Result


def request(sent_s: float, answered_s: float, result: Result = Result.SUCCEEDED, **values: Any) -> Outcome:
    return Outcome("stream", sent_s, answered_s, result, **values)


ENDS = (End(100.0, 100.0, load_s=5.0), End(110.0, 113.0, load_s=4.0))
GOOD = (
    request(95.0, 99.0),
    request(99.0, 100.2, Result.UNAVAILABLE),
    request(99.5, 100.01),  # finished before the end, and sent before it: no recovery
    request(100.3, 106.0),
    request(109.0, 113.5, Result.UNAVAILABLE),
    request(113.6, 119.0),  # 6 s after the end
)


def record(*more: Outcome, **values: Any) -> Record:
    given: dict[str, Any] = {"probes": (), "broken_connections": 0, "leftovers": {}} | values
    return Record(ends=ENDS, outcomes=(*GOOD, *more), **given)


def test_answers_and_recoveries_are_counted_from_the_end() -> None:
    seen = record(probes=[request(100.5, 101.6, Result.TOO_LATE, timeout_ms=1000)])
    assert seen.answer_s == pytest.approx([0.2, 0.5])
    assert seen.recovery_s == pytest.approx([1.0, 2.0])
    assert seen.late_s == pytest.approx([0.1])
    assert seen.wrongs() == []
    row = dict(zip(COLUMNS, seen.row("kill"), strict=True))
    assert (row["requests"], row["succeeded"], row["unavailable"], row["other"]) == (6, 4, 2, 0)
    assert (row["times"], row["left over"]) == (2, "none")


def test_an_answer_while_harm_is_done_is_none_too_late() -> None:
    assert record(request(109.0, 111.0, Result.UNAVAILABLE)).answer_s == pytest.approx([0.2, 0.5, 0.0])


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (record(request(99.0, 101.5, Result.UNAVAILABLE)), "1 answers later than 1 s, the latest after 1.50 s"),
        (record(request(99.0, 100.1, Result.OTHER, said="reset")), "stream: reset"),
        (record(request(99.0, 100.1, Result.TOO_LATE, said="too late")), "stream: too late"),
        (record(request(90.0, 91.0, Result.UNAVAILABLE, said="why?")), "unavailable before any end: why?"),
        (record(leftovers={"run folder": 2}), "left over: 2 more run folder"),
        (record(broken_connections=1), "1 connections to the frontend were made anew"),
        (record(faults=["x", "x"]), "2 times: x"),
        (
            record(probes=[request(100.0, 106.0, Result.TOO_LATE, timeout_ms=1000)]),
            "1 answers later than their deadline by up to 5.00 s",
        ),
        (record(probes=[request(100.0, 100.1, Result.OTHER, said="500")]), "with a deadline: 500"),
    ],
)
def test_each_condition_that_is_missed_is_named(seen: Record, said: str) -> None:
    [text] = seen.wrongs()
    assert said in text


def test_a_slow_recovery_and_none_are_named() -> None:
    slow = Record(ENDS, [request(100.1, 108.0)], [], 0, {})
    assert slow.wrongs() == [
        "1 recoveries took more than 2 s beyond loading, the longest 3.00 s",
        "1 times there was no image again",
    ]
