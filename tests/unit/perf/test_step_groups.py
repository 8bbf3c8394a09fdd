"""Static batching groups as it claims, so that the comparison with it is a fair one."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path
from typing import Any

import pytest

_FILE = Path(__file__).resolve().parents[3] / "perf/static_batching/static_batching/1/step_groups.py"


@pytest.fixture(scope="module")
def new_groups() -> Any:
    """The class, from beside its model.py, where Triton alone looks for it."""
    spec = importlib.util.spec_from_file_location("step_groups", _FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.StepGroups


def test_equal_step_counts_go_together_past_others(new_groups: Any) -> None:
    groups = new_groups(8, 0.0)
    for item, steps in enumerate((50, 4, 50, 4, 4)):
        groups.put(steps, item)
    assert groups.take() == [0, 2]
    assert groups.take() == [1, 3, 4]


def test_the_oldest_request_decides_whose_turn_it_is(new_groups: Any) -> None:
    groups = new_groups(2, 0.0)
    for item, steps in enumerate((4, 50, 4, 4, 50)):
        groups.put(steps, item)
    assert [groups.take() for _ in range(3)] == [[0, 2], [1, 4], [3]]


def test_a_full_group_does_not_wait(new_groups: Any) -> None:
    groups = new_groups(2, 3600.0)
    groups.put(4, "a")
    groups.put(4, "b")
    assert groups.take() == ["a", "b"]


def test_company_may_come_while_the_first_request_waits(new_groups: Any) -> None:
    groups = new_groups(2, 3600.0)
    groups.put(4, "a")
    latecomer = threading.Timer(0.05, groups.put, (4, "b"))
    latecomer.start()
    assert groups.take() == ["a", "b"]
    latecomer.join()


def test_a_lonely_request_is_taken_after_the_delay(new_groups: Any) -> None:
    groups = new_groups(8, 0.01)
    groups.put(4, "a")
    assert groups.take() == ["a"]


def test_closing_hands_out_the_rest_then_nothing(new_groups: Any) -> None:
    groups = new_groups(8, 3600.0)
    groups.put(4, "a")
    groups.close()
    assert groups.take() == ["a"]
    assert groups.take() == []
