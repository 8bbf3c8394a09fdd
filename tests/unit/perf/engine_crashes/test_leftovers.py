"""What has grown is told, once it has had time to settle."""

from __future__ import annotations

import itertools

import pytest

from perf.engine_crashes import leftovers
from perf.engine_crashes.leftovers import grown, left_over

BEFORE = {"processes": 7, "shared memory": 3, "files of diffusion": 40}


@pytest.mark.parametrize(
    ("now", "more"),
    [
        (BEFORE, {}),
        ({**BEFORE, "processes": 6, "files of diffusion": 42}, {}),
        ({**BEFORE, "shared memory": 4}, {"shared memory": 1}),
        ({**BEFORE, "files of diffusion": 43}, {"files of diffusion": 3}),
        ({**BEFORE, "files of another": 9}, {"files of another": 9}),
    ],
)
def test_what_has_grown(now: dict[str, int], more: dict[str, int]) -> None:
    assert grown(BEFORE, now) == more


def test_what_settles_is_not_left_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "_POLL_S", 0.0)
    counts = itertools.chain([{"processes": 9}, {"processes": 8}], itertools.repeat({"processes": 7}))
    assert left_over({"processes": 7}, lambda: next(counts)) == {}


def test_what_does_not_settle_is_left_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "_SETTLING_S", 0.0)
    assert left_over({"processes": 7}, lambda: {"processes": 9}) == {"processes": 2}
