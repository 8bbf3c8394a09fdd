"""Which adapters may be on the device: so many at most and so many bytes, and none leaves while it is in use.

    enter(visit)   begins it once all its adapters are there: at once, or when others have left
    leave(visit)   its adapters may go
    withdraw(visit)   it waits no more

A visit gets all its adapters or none, so that two never wait for each other. Pure: no torch, no I/O, no clock.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from imagegen.metrics import CacheStatistics

_MOST_OVERTAKEN = 16  # times, after which who waits is the next


class Sized(Protocol):
    """An adapter, as far as room is concerned."""

    @property
    def digest(self) -> str:
        """Adapters of one digest are the same."""

    @property
    def size_bytes(self) -> int:
        """That it takes on the device."""


Item = TypeVar("Item", bound=Sized)
Place = TypeVar("Place")


class NeverFitsError(ValueError):
    """A visit needs more room than there is in all."""


@dataclass(eq=False)
class Visit(Generic[Item, Place]):
    """Adapters that are in use together.

    Attributes:
        items: one or more, each once.
        begin: called once all of them are there, on whichever thread gave the room.
        places: of the items, in order, once they are there.
    """

    items: Sequence[Item]
    begin: Callable[[], None]
    places: list[Place] = field(default_factory=list, init=False)
    overtaken: int = field(default=0, init=False)


@dataclass
class _Resident(Generic[Place]):
    size_bytes: int
    place: Place
    visits: int = 0
    is_leaving: bool = False  # with its last visit


class DeviceSlots(Generic[Item, Place]):
    """Gives adapters room in the order in which they are asked for. Safe from any thread.

    Who finds all its adapters there may overtake who waits for room, but not for ever.

    Args:
        count: most adapters on the device.
        max_bytes: most bytes of all of them.
        place: makes what stands for an item on the device; what it holds is freed when nobody has it any more.
    """

    def __init__(self, count: int, max_bytes: int, place: Callable[[Item], Place]) -> None:
        self.count = count
        self.max_bytes = max_bytes
        self._place = place
        self._lock = threading.Lock()
        self._residents: OrderedDict[str, _Resident[Place]] = OrderedDict()  # least recently used first
        self._waiting: deque[Visit[Item, Place]] = deque()
        self._admitted: deque[Visit[Item, Place]] = deque()  # not begun yet
        self._is_beginning = False
        self._hits = self._misses = self._evictions = 0

    def enter(self, visit: Visit[Item, Place]) -> None:
        """Begin a visit, now or when there is room. To be given back to `leave` once it has begun.

        Raises:
            NeverFitsError: it will never fit.
        """
        size_bytes = sum(item.size_bytes for item in visit.items)
        if len(visit.items) > self.count:
            raise NeverFitsError(f"{len(visit.items)} adapters; {self.count} are the most on the device")
        if size_bytes > self.max_bytes:
            raise NeverFitsError(f"the adapters take {size_bytes} bytes; {self.max_bytes} are the most on the device")
        with self._lock:
            self._waiting.append(visit)
            self._admit()
        self._begin()

    def leave(self, visit: Visit[Item, Place]) -> None:
        """A visit has ended; of no effect the second time."""
        with self._lock:
            if visit.places:
                visit.places = []
                for item in visit.items:
                    resident = self._residents[item.digest]
                    resident.visits -= 1
                    if resident.is_leaving and not resident.visits:
                        del self._residents[item.digest]
            self._admit()
        self._begin()

    def withdraw(self, visit: Visit[Item, Place]) -> bool:
        """Have a visit wait no more, which never begins then; false for one that does not wait."""
        with self._lock:
            if visit not in self._waiting:
                return False
            self._waiting.remove(visit)
            self._admit()
        self._begin()
        return True

    def clear(self) -> None:
        """Let all go, those that are in use with their last visit. Not counted as evictions."""
        with self._lock:
            for digest, resident in list(self._residents.items()):
                resident.is_leaving = True
                if not resident.visits:
                    del self._residents[digest]

    @property
    def waiting(self) -> int:
        """Visits that wait for room."""
        return len(self._waiting)

    @property
    def statistics(self) -> CacheStatistics:
        """The counters, consistent with each other."""
        with self._lock:
            return CacheStatistics(self._hits, self._misses, self._evictions, self._bytes(), len(self._residents))

    def _bytes(self) -> int:
        return sum(resident.size_bytes for resident in self._residents.values())

    def _admit(self) -> None:
        """Let those begin that wait and can, with their adapters in place."""
        held: list[Visit[Item, Place]] = []
        while self._waiting:
            visit = self._waiting.popleft()
            # Behind one that has been overtaken too often nobody begins, be it with what is there.
            may = not held or (held[0].overtaken < _MOST_OVERTAKEN and self._missing(visit) == [])
            if may and self._make_room(visit):
                self._settle(visit)
                self._admitted.append(visit)
                if held:
                    held[0].overtaken += 1
            else:
                held.append(visit)
        self._waiting.extend(held)

    def _begin(self) -> None:
        """Begin those that were admitted, one after the other: each may end, and admit others, while it begins."""
        while True:
            with self._lock:
                if self._is_beginning or not self._admitted:
                    return
                self._is_beginning = True
                visit = self._admitted.popleft()
            try:
                visit.begin()
            finally:
                with self._lock:
                    self._is_beginning = False

    def _missing(self, visit: Visit[Item, Place]) -> list[Item]:
        return [item for item in visit.items if item.digest not in self._residents]

    def _make_room(self, visit: Visit[Item, Place]) -> bool:
        """Whether there is room for what a visit misses; drops what is not in use for it, the least recently used."""
        missing = self._missing(visit)
        needed = {item.digest for item in visit.items}
        idle = [digest for digest, each in self._residents.items() if not each.visits and digest not in needed]
        count = len(self._residents) + len(missing) - self.count
        size_bytes = self._bytes() + sum(item.size_bytes for item in missing) - self.max_bytes
        dropped = []
        for digest in idle:
            if count <= 0 and size_bytes <= 0:
                break
            dropped.append(digest)
            count -= 1
            size_bytes -= self._residents[digest].size_bytes
        if count > 0 or size_bytes > 0:
            return False
        for digest in dropped:
            del self._residents[digest]
        self._evictions += len(dropped)
        self._misses += len(missing)
        self._hits += len(visit.items) - len(missing)
        return True

    def _settle(self, visit: Visit[Item, Place]) -> None:
        for item in visit.items:
            resident = self._residents.get(item.digest)
            if resident is None:
                resident = self._residents[item.digest] = _Resident(item.size_bytes, self._place(item))
            self._residents.move_to_end(item.digest)
            resident.visits += 1
            resident.is_leaving = False
            visit.places.append(resident.place)
