"""A point is measured once, also over several runs; one that failed is tried again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from perf.gpu.journal import Journal


class Counted:
    """A measurement that fails until it may not."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls = 0

    def __call__(self) -> Mapping[str, Any]:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return {"value": self.calls}


def test_a_later_run_goes_on_where_another_was_cut_off(tmp_path: Path) -> None:
    file, once = tmp_path / "points", Counted()
    first = Journal(file, 60)
    assert first.measure("a/SDXL/1", once)
    file.write_text(file.read_text() + '{"key": "a/SDX')
    second = Journal(file, 60)
    assert second.measure("a/SDXL/1", once)
    assert once.calls == 1
    assert [(key, point["value"]) for key, point in second.of("a")] == [(("SDXL", "1"), 1)]


def test_what_failed_is_a_fault_and_tried_again_but_for_want_of_memory(tmp_path: Path) -> None:
    broken, full = Counted(ValueError("no such kernel")), Counted(torch.OutOfMemoryError())
    for _ in range(2):
        journal = Journal(tmp_path / "points", 60)
        assert journal.measure("a/1", broken)
        assert not journal.measure("a/2", full)
        assert journal.faults() == ["a/1: ValueError: no such kernel"]
        assert list(journal.of("a")) == []
    assert (broken.calls, full.calls) == (2, 1)


def test_when_its_time_is_over_nothing_more_is_measured(tmp_path: Path) -> None:
    journal, never = Journal(tmp_path / "points", 0), Counted()
    assert journal.measure("a/1", never)
    assert (journal.is_over, never.calls, journal.points) == (True, 0, {})
