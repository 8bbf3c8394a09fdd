"""Ways to do the same thing, timed in turns, so that a slow moment of the machine hits all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from perf.progress import quiet_progress

Result = TypeVar("Result")
Name = TypeVar("Name")


@dataclass(frozen=True)
class Turn(Generic[Result]):
    """One call of one way.

    Attributes:
        ms: milliseconds that it took.
        result: what it returned.
    """

    ms: float
    result: Result


def rotated(names: Sequence[Name], number: int) -> list[Name]:
    """The order of round `number`: another one begins in each, since the first one finds colder caches."""
    turn = number % len(names)
    return [*names[turn:], *names[:turn]]


def take_turns(
    title: str, ways: Mapping[str, Callable[[int], Result]], rounds: int, warmup: int = 0
) -> dict[str, list[Turn[Result]]]:
    """Call every way once a round.

    Args:
        title: what the progress display says.
        ways: by name; each is called with the number of the round, warm-up rounds included.
        rounds: that count.
        warmup: rounds before them that do not.
    """
    turns: dict[str, list[Turn[Result]]] = {name: [] for name in ways}
    with quiet_progress() as progress:
        bar = progress.add_task(title, total=warmup + rounds)
        for number in range(warmup + rounds):
            for name in rotated(list(ways), number):
                started_s = time.perf_counter()
                result = ways[name](number)
                turn = Turn((time.perf_counter() - started_s) * 1000, result)
                if number >= warmup:
                    turns[name].append(turn)
            progress.update(bar, advance=1, refresh=True)
    return turns


def speedup(before: Sequence[Turn[Result]], after: Sequence[Turn[Result]]) -> float:
    """How many times as fast one way is as another: the median of their rounds' ratios."""
    return statistics.median(one.ms / other.ms for one, other in zip(before, after, strict=True))
