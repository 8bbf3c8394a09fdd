"""Tasks of equal key are done as one, and one that fails spoils nobody else's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from imagegen.engine import shared_task
from imagegen.engine.failure import Failure
from imagegen.engine.shared_task import do_together


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_task, "_told", set())


@dataclass
class Doubling:
    """Doubles a number, several at once unless one of them is bad."""

    value: int
    log: list[list[int]]
    key: Any = "a"
    bad: bool = False
    error: type[Exception] = MemoryError
    kind: str = "Doubling"
    outline: Any = None

    def alone(self) -> int:
        if self.bad:
            raise ValueError(f"cannot double {self.value}")
        self.log.append([self.value])
        return 2 * self.value

    def together(self, tasks: Sequence[Any]) -> list[int]:
        if any(task.bad for task in tasks):
            raise self.error
        self.log.append([task.value for task in tasks])
        return [2 * task.value for task in tasks]


def test_those_of_equal_key_are_done_as_one_and_results_keep_their_order() -> None:
    log: list[list[int]] = []
    keys = {1: "a", 2: "b", 3: "a", 4: "c", 5: "b"}
    assert do_together([Doubling(value, log, key) for value, key in keys.items()]) == [2, 4, 6, 8, 10]
    assert log == [[1, 3], [2, 5], [4]]


def test_what_fails_as_one_is_done_one_by_one() -> None:
    log: list[list[int]] = []
    one, failure, three = do_together([Doubling(1, log), Doubling(2, log, bad=True), Doubling(3, log)])
    assert (one, three) == (2, 6)
    assert isinstance(failure, Failure)
    kind, error, _ = failure.take()
    assert (kind, str(error)) == (ValueError, "cannot double 2")
    assert log == [[1], [3]]


class Keyless(Doubling):
    """Its key cannot be told."""

    @property
    def key(self) -> Any:
        raise ValueError("planted")

    @key.setter
    def key(self, value: Any) -> None: ...


def test_keys_of_different_outlines_are_not_asked_for() -> None:
    log: list[list[int]] = []
    tasks = [Keyless(1, log, outline=1), Doubling(2, log, outline=2), Doubling(3, log, outline=2)]
    assert do_together(tasks) == [2, 4, 6]
    assert log == [[1], [2, 3]]
    assert not shared_task._told


def test_a_task_whose_key_cannot_be_told_is_alone_and_spoils_nobody_elses(caplog: pytest.LogCaptureFixture) -> None:
    """It failed every request that was being generated."""
    log: list[list[int]] = []
    tasks = [Doubling(1, log), Keyless(2, log), Doubling(3, log), Keyless(4, log), Doubling(5, log, key=[])]
    assert do_together([*tasks, Doubling(6, log, outline=[])]) == [2, 4, 6, 8, 10, 12]
    assert sorted(log) == [[1, 3], [2], [4], [5], [6]]
    assert caplog.text.count("Doubling: what several images need is done one by one") == 1


def test_what_cannot_be_done_as_one_is_told_once_of_each_kind(caplog: pytest.LogCaptureFixture) -> None:
    for kind, error in (("a", ValueError), ("a", ValueError), ("b", ValueError), ("c", MemoryError)):
        do_together([Doubling(value, [], bad=True, error=error, kind=kind) for value in (1, 2)])
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"{kind}: what several images need is done one by one" for kind in "ab"]


def test_nothing_is_done_for_nobody() -> None:
    assert do_together([]) == []
