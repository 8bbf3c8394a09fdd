"""Files are read once for all who wait; who is withdrawn is told nothing; nobody waits for a reader at the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagegen.api.errors import Unavailable
from imagegen.engine.adapters.adapter import AdapterError
from imagegen.engine.adapters.adapter_reads import AdapterReads, Reading
from imagegen.engine.adapters.host_adapters import HostAdapters
from tests.unit.engine.adapters.files import Reader, write
from tests.unit.tiny_engine import wait_until


class Reads:
    """Adapters a, b, c and d, the unreadable `bad`, and what requests for them were told."""

    def __init__(self, folder: Path) -> None:
        for index, name in enumerate("abcd"):
            write(folder, name, str(index))
        write(folder, "bad", "no number")
        self.reader = Reader()
        self.reads = AdapterReads(lambda name: HostAdapters(Path, self.reader, 0).get(str(folder / name)))
        self.told: list[tuple[Reading, str]] = []

    def begin(self, *names: str) -> Reading:
        reading = Reading(
            set(names),
            lambda: self.told.append((reading, "done")),
            lambda where, error: self.told.append((reading, f"{where}: {type(error).__name__}")),
        )
        self.reads.begin(reading)
        return reading


@pytest.fixture
def reads(tmp_path: Path) -> Iterator[Reads]:
    reads = Reads(tmp_path)
    yield reads
    reads.reader.gate.set()
    reads.reads.close()


def test_a_request_gets_all_it_misses(reads: Reads) -> None:
    reading = reads.begin("a", "b")
    wait_until(lambda: reads.told == [(reading, "done")])
    assert reading.found.keys() == {"a", "b"}


def test_many_for_one_slow_file_leave_a_thread_for_others(reads: Reads) -> None:
    """Two requests for the same file kept both threads waiting for one reading."""
    reads.reader.gate.clear()
    slow = [reads.begin("a") for _ in range(10)]
    wait_until(lambda: reads.reader.reads == ["a"])
    other = reads.begin("b")
    wait_until(lambda: reads.reader.reads == ["a", "b"])
    reads.reader.gate.set()
    wait_until(lambda: len(reads.told) == 11)
    assert {reading for reading, _ in reads.told} == {*slow, other}
    assert sorted(reads.reader.reads) == ["a", "b"]


def test_the_first_fault_ends_it_once(reads: Reads) -> None:
    reads.reader.gate.clear()
    both, one = reads.begin("a", "bad"), reads.begin("a")
    wait_until(lambda: len(reads.reader.reads) == 2)
    reads.reader.gate.set()
    wait_until(lambda: len(reads.told) == 2)
    assert set(reads.told) == {(both, f"bad: {AdapterError.__name__}"), (one, "done")}


def test_who_is_withdrawn_is_told_nothing_and_what_nobody_waits_for_is_not_read(reads: Reads) -> None:
    reads.reader.gate.clear()
    busy = [reads.begin("a"), reads.begin("b")]
    wait_until(lambda: len(reads.reader.reads) == 2)
    in_line, stays = reads.begin("c"), reads.begin("d")
    assert reads.reads.withdraw(in_line)
    assert not reads.reads.withdraw(in_line)
    assert reads.reads.withdraw(busy[0])
    reads.reader.gate.set()
    wait_until(lambda: len(reads.told) == 2)
    assert {reading for reading, _ in reads.told} == {busy[1], stays}
    assert not reads.reads.withdraw(stays)
    assert sorted(reads.reader.reads) == ["a", "b", "d"]


def test_one_that_all_have_given_up_is_read_for_who_asks_again(reads: Reads) -> None:
    reads.reader.gate.clear()
    first = reads.begin("a")
    wait_until(lambda: reads.reader.reads == ["a"])
    assert reads.reads.withdraw(first)
    again = reads.begin("a")
    reads.reader.gate.set()
    wait_until(lambda: reads.told == [(again, "done")])
    assert reads.reader.reads == ["a"]


def test_the_end_waits_for_no_reader(reads: Reads) -> None:
    reads.reader.gate.clear()
    reading = reads.begin("a")
    wait_until(lambda: reads.reader.reads == ["a"])
    closing = threading.Thread(target=reads.reads.close)
    closing.start()
    closing.join(10)
    assert not closing.is_alive()
    with pytest.raises(Unavailable, match="shutting down"):
        reads.begin("b")
    reads.reader.gate.set()
    assert not reads.reads.withdraw(reading)
    assert reads.told == []
