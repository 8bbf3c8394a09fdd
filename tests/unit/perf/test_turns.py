"""Every way has its turn in each round, and another one begins in each."""

from __future__ import annotations

from perf.turns import Turn, rotated, speedup, take_turns


def test_another_one_begins_in_each_round() -> None:
    assert [rotated("abc", number) for number in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]


def test_warm_up_rounds_do_not_count() -> None:
    called: list[tuple[str, int]] = []

    def way(name: str, number: int) -> str:
        called.append((name, number))
        return f"{name}{number}"

    ways = {"a": lambda number: way("a", number), "b": lambda number: way("b", number)}
    turns = take_turns("in turns", ways, rounds=2, warmup=1)
    assert called == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert {name: [turn.result for turn in ones] for name, ones in turns.items()} == {
        "a": ["a1", "a2"],
        "b": ["b1", "b2"],
    }
    assert all(turn.ms >= 0 for ones in turns.values() for turn in ones)


def test_a_speed_up_is_the_median_of_the_rounds() -> None:
    before, after = [[Turn(ms, None) for ms in each] for each in ((10.0, 20.0, 90.0), (5.0, 5.0, 30.0))]
    assert speedup(before, after) == 3.0
