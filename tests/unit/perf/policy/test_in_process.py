"""All sides get the same loads in turns, rates follow what the machine can do at the time, and targets are ratios."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from perf.environment import ROOT
from perf.policy import in_process
from perf.policy.in_process import BALANCED, BEFORE, CLOSED, OPEN, OVER, STATIC, THROUGHPUT, Settings, measure
from perf.summaries import Record
from perf.workload import LONG_STEPS, SHORT_STEPS

SETTINGS = Settings(before=str(ROOT), rounds=2)
LATENCY_S = {BALANCED: 0.1, THROUGHPUT: 0.2, BEFORE: 0.3, STATIC: 0.4}


class Side:
    """In the place of a process.

    Attributes:
        sent: what all of them were sent: side, scenario, round and load.
    """

    sent: list[tuple[str, str, int, dict[str, Any]]]

    def __init__(self, name: str, tree: Path, checkpoint: Path, *_: object, **__: object) -> None:
        self.name = name

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send(self, scenario: str, number: int, load: Mapping[str, Any]) -> list[Record]:
        self.sent.append((self.name, scenario, number, dict(load)))
        latency_s = LATENCY_S[self.name]
        return [
            Record(scenario, self.name, number, steps, float(start), latency_s, "")
            for start, steps in enumerate((SHORT_STEPS, LONG_STEPS))
        ]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int, dict[str, Any]]]:
    Side.sent = []
    monkeypatch.setattr(in_process, "Side", Side)
    monkeypatch.setattr(in_process, "measure_forwards", lambda *_: {16: 100.0})
    return Side.sent


def test_every_side_gets_the_same_loads_and_another_one_is_first_in_each_round(
    sent: list[tuple[str, str, int, dict[str, Any]]],
) -> None:
    measure(SETTINGS, Path("model"))
    for scenario, names in ((OPEN, {BALANCED, BEFORE, STATIC}), (OVER, {BALANCED, BEFORE, THROUGHPUT})):
        for number in range(2):
            loads = [(name, load) for name, which, round, load in sent if (which, round) == (scenario, number)]
            assert {name for name, _ in loads} == names
            assert all(load == loads[0][1] for _, load in loads)
        first = [next(name for name, which, at, _ in sent if (which, at) == (scenario, n)) for n in range(2)]
        assert first == [BALANCED, BEFORE]
    rates = {which: load["rate_per_s"] for _, which, _, load in sent if "rate_per_s" in load}
    assert rates[OVER] / rates[OPEN] == pytest.approx(1.5)


def test_targets_are_of_the_default_preference(sent: list[tuple[str, str, int, dict[str, Any]]]) -> None:
    found = measure(SETTINGS, Path("model"))
    assert [target.met for target in found.targets] == [True, True, True, True, False]
    assert found.faults == []
    assert CLOSED[1:] in "".join(found.paragraphs)
