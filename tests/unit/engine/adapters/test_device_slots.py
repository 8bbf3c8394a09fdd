"""Room on the device: a bound that holds, nobody leaves while in use, nobody waits for ever."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen.engine.adapters.device_slots import DeviceSlots, NeverFitsError, Visit
from imagegen.metrics import CacheStatistics


@dataclass(frozen=True)
class Item:
    digest: str
    size_bytes: int = 1


class Slots:
    """Slots that note who has begun."""

    def __init__(self, count: int = 2, max_bytes: int = 100) -> None:
        self.begun: list[str] = []
        self.slots: DeviceSlots[Item, str] = DeviceSlots(count, max_bytes, lambda item: f"place of {item.digest}")

    def enter(self, name: str, *digests: str, size_bytes: int = 1) -> Visit[Item, str]:
        items = [Item(digest, size_bytes) for digest in digests]
        visit: Visit[Item, str] = Visit(items, lambda: self.begun.append(name))
        self.slots.enter(visit)
        return visit


def test_what_is_there_is_used_again() -> None:
    slots = Slots()
    first = slots.enter("first", "a", "b")
    second = slots.enter("second", "b")
    assert slots.begun == ["first", "second"]
    assert first.places == ["place of a", "place of b"]
    assert second.places == ["place of b"]
    assert slots.slots.statistics == CacheStatistics(hits=1, misses=2, evictions=0, bytes=2, entries=2)


def test_the_least_recently_used_leaves_and_who_is_in_use_stays() -> None:
    slots = Slots()
    a = slots.enter("a", "a")
    slots.slots.leave(slots.enter("b", "b"))
    slots.slots.leave(slots.enter("c", "c"))
    assert slots.begun == ["a", "b", "c"]
    slots.slots.leave(a)
    assert slots.slots.statistics.entries == 2
    assert slots.slots.statistics.evictions == 1
    slots.enter("a again", "a")
    assert slots.slots.statistics.hits == 1


def test_who_finds_no_room_waits_for_it() -> None:
    slots = Slots()
    a, b = slots.enter("a", "a"), slots.enter("b", "b")
    slots.enter("c", "c")
    assert slots.begun == ["a", "b"]
    assert slots.slots.waiting == 1
    slots.slots.leave(b)
    assert slots.begun == ["a", "b", "c"]
    slots.slots.leave(b)  # of no effect
    slots.slots.leave(a)
    assert slots.slots.waiting == 0


def test_bytes_bound_as_well() -> None:
    slots = Slots(count=10, max_bytes=10)
    a = slots.enter("a", "a", size_bytes=6)
    slots.enter("b", "b", size_bytes=6)
    assert slots.begun == ["a"]
    slots.slots.leave(a)
    assert slots.begun == ["a", "b"]
    assert slots.slots.statistics.bytes == 6


def test_who_never_fits_is_refused() -> None:
    slots = Slots(max_bytes=10)
    with pytest.raises(NeverFitsError, match="3 adapters; 2 are the most"):
        slots.enter("many", "a", "b", "c")
    with pytest.raises(NeverFitsError, match="take 11 bytes; 10 are the most"):
        slots.enter("large", "a", size_bytes=11)
    assert slots.slots.waiting == 0


def test_a_visit_gets_all_or_nothing() -> None:
    slots = Slots()
    a, b = slots.enter("a", "a"), slots.enter("b", "b")
    slots.enter("both others", "c", "d")
    slots.slots.leave(a)
    assert slots.begun == ["a", "b"]
    slots.slots.leave(b)
    assert slots.begun == ["a", "b", "both others"]


def test_overtaking_ends() -> None:
    """Requests for what is there must not keep the one that waits for room waiting for ever."""
    slots = Slots()
    held = [slots.enter("a", "a"), slots.enter("b", "b")]
    slots.enter("waits", "c")
    for index in range(100):
        held.append(slots.enter(f"overtakes {index}", "a"))
    assert len(slots.begun) == 2 + 16
    for visit in held:
        slots.slots.leave(visit)
    assert "waits" in slots.begun
    assert slots.begun.index("waits") == 18


def test_who_gives_up_makes_way() -> None:
    slots = Slots()
    a, b = slots.enter("a", "a"), slots.enter("b", "b")
    waiting = slots.enter("both", "c", "d")
    slots.enter("c", "c")
    slots.slots.leave(b)
    assert slots.begun == ["a", "b"]
    assert slots.slots.withdraw(waiting)
    assert slots.begun == ["a", "b", "c"]
    assert not slots.slots.withdraw(waiting)
    assert not slots.slots.withdraw(a)


def test_clear_lets_those_in_use_go_with_their_last_visit() -> None:
    slots = Slots()
    visits = [slots.enter("a", "a"), slots.enter("a", "a")]
    slots.slots.leave(slots.enter("b", "b"))
    slots.slots.clear()
    assert slots.slots.statistics.entries == 1
    slots.slots.leave(visits[0])
    assert slots.slots.statistics.entries == 1
    slots.slots.leave(visits[1])
    assert slots.slots.statistics.entries == 0
    assert slots.slots.statistics.evictions == 0


def test_one_that_is_asked_for_again_after_clear_stays() -> None:
    slots = Slots()
    visits = [slots.enter("a", "a")]
    slots.slots.clear()
    visits.append(slots.enter("a", "a"))
    for visit in visits:
        slots.slots.leave(visit)
    assert slots.slots.statistics.entries == 1


def test_hundreds_that_end_as_soon_as_they_begin_end_one_after_the_other() -> None:
    """At shutdown each that began ended at once and let the next begin, one call inside the other."""
    begun: list[int] = []
    slots: DeviceSlots[Item, str] = DeviceSlots(1, 1, lambda item: item.digest)
    visits: list[Visit[Item, str]] = []

    def begin(index: int) -> None:
        begun.append(index)
        if index:
            slots.leave(visits[index])

    for index in range(600):
        visits.append(Visit([Item(str(index))], partial(begin, index)))
        slots.enter(visits[-1])
    assert begun == [0]
    slots.leave(visits[0])
    assert begun == list(range(600))


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(4, 12))
def test_any_traffic_is_served_within_the_bounds(seed: int, count: int, max_bytes: int) -> None:
    draw = random.Random(seed)
    slots = Slots(count, max_bytes)
    inside: list[Visit[Item, str]] = []
    entered = 0
    for index in range(200):
        if draw.random() < 0.6:
            digests = draw.sample("abcdefgh", draw.randint(1, count))
            items = [Item(digest, 1 + ord(digest) % 3) for digest in digests]
            if sum(item.size_bytes for item in items) > max_bytes:
                continue
            visit: Visit[Item, str] = Visit(items, lambda index=index: slots.begun.append(str(index)))  # type: ignore[misc]
            slots.slots.enter(visit)
            inside.append(visit)
            entered += 1
        elif inside:
            visit = inside.pop(draw.randrange(len(inside)))
            if not slots.slots.withdraw(visit):
                slots.slots.leave(visit)
            else:
                entered -= 1
        statistics = slots.slots.statistics
        assert statistics.entries <= count
        assert statistics.bytes <= max_bytes
        in_use = {place for visit in inside for place in visit.places}
        assert len(in_use) <= statistics.entries
    for _ in list(inside):  # each leaves once it has begun, and in the end all have
        for other in inside:
            if other.places:
                slots.slots.leave(other)
    assert slots.slots.waiting == 0
    assert len(slots.begun) == entered
