"""Tasks of equal key are done as one, and one that fails spoils nobody else's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from imagegen.engine.failure import Failure
from imagegen.engine.shared_task import do_together


@dataclass
class Doubling:
    """Doubles a number, several at once unless one of them is bad."""

    value: int
    log: list[list[int]]
    key: str = "a"
    bad: bool = False

    def alone(self) -> int:
        if self.bad:
            raise ValueError(f"cannot double {self.value}")
        self.log.append([self.value])
        return 2 * self.value

    def together(self, tasks: Sequence[Any]) -> list[int]:
        if any(task.bad for task in tasks):
            raise MemoryError
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


def test_nothing_is_done_for_nobody() -> None:
    assert do_together([]) == []
