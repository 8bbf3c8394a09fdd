"""Adapters of requests: read beside everything else, begun when there is room, let go at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from imagegen.api.errors import Cancelled, InvalidArgument
from imagegen.engine.adapters.adapter import AdapterError
from imagegen.engine.adapters.adapter_store import AdapterStack, AdapterStore
from imagegen.engine.adapters.host_adapters import HostAdapters
from imagegen.pipelines.plan import PlannedLora
from tests.unit.engine.adapters.files import Reader, write
from tests.unit.tiny_engine import wait_until

SIZE_BYTES = 2 * 8 * 4 * 2


class Store:
    """A store of two adapters, and requests that note what became of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reader = Reader()
        host = HostAdapters(Path, self.reader, 10**6)
        self.store = AdapterStore(host, torch.device("cpu"), 2, 3 * SIZE_BYTES)
        self.begun: list[AdapterStack] = []
        self.errors: list[BaseException] = []
        self.cancelled: Exception | None = None

    def stack(self, *loras: tuple[str, float]) -> AdapterStack:
        planned = [PlannedLora(name, scale, str(self.folder / name)) for name, scale in loras]
        stack = AdapterStack(planned, lambda: self.cancelled, lambda: self.begun.append(stack), self.errors.append)
        return stack

    def acquire(self, *loras: tuple[str, float]) -> AdapterStack:
        stack = self.stack(*loras)
        self.store.acquire(stack)
        wait_until(lambda: stack in self.begun or bool(self.errors) or self.store._slots.waiting > 0)
        return stack


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    for index, name in enumerate("abcd"):
        write(tmp_path, name, str(index))
    store = Store(tmp_path)
    yield store
    store.reader.gate.set()
    store.store.close()


def test_updates_are_by_component_with_their_scales(store: Store) -> None:
    stack = store.acquire(("a", 0.5), ("b", -1.0))
    (first, scale), (second, other) = stack.updates()["unet"]
    assert (scale, other) == (0.5, -1.0)
    assert first.digest != second.digest


def test_a_scale_of_0_adds_nothing(store: Store) -> None:
    assert store.acquire(("a", 0.0)).updates() == {}


def test_the_same_adapter_is_the_same_for_all(store: Store) -> None:
    one, other = store.acquire(("a", 1.0)), store.acquire(("a", 1.0))
    assert one.updates() == other.updates()


def test_two_names_of_one_content_count_together(store: Store) -> None:
    write(store.folder, "copy", "0")
    ((_, scale),) = store.acquire(("a", 0.5), ("copy", 0.25)).updates()["unet"]
    assert scale == 0.75


def test_what_is_known_begins_at_once_while_another_is_read(store: Store) -> None:
    store.store.release(store.acquire(("a", 1.0)))
    store.reader.gate.clear()
    cold = store.stack(("b", 1.0))
    store.store.acquire(cold)
    warm = store.stack(("a", 1.0))
    store.store.acquire(warm)
    assert warm in store.begun
    assert cold not in store.begun
    store.reader.gate.set()
    wait_until(lambda: cold in store.begun)


def test_who_finds_no_room_begins_when_another_ends(store: Store) -> None:
    first = store.acquire(("a", 1.0), ("b", 1.0))
    waits = store.acquire(("c", 1.0))
    assert waits not in store.begun
    store.store.release(first)
    assert waits in store.begun
    store.store.release(first)
    assert store.errors == []


def test_who_waits_can_be_withdrawn_and_who_has_begun_cannot(store: Store) -> None:
    first = store.acquire(("a", 1.0), ("b", 1.0))
    waits = store.acquire(("c", 1.0))
    assert store.store.withdraw(waits)
    assert not store.store.withdraw(first)
    store.store.release(first)
    assert store.begun == [first]


def test_who_is_withdrawn_while_its_file_is_read_never_begins(store: Store) -> None:
    """A cancel freed the engine's slot only once the file had been read, which a download may delay for minutes."""
    store.reader.gate.clear()
    stack = store.stack(("a", 1.0), ("b", 1.0))
    store.store.acquire(stack)
    wait_until(lambda: sorted(store.reader.reads) == ["a", "b"])
    assert store.store.withdraw(stack)
    assert not store.store.withdraw(stack)
    store.reader.gate.set()
    after = store.acquire(("a", 1.0))
    assert store.begun == [after]
    assert store.errors == []


def test_a_cancel_that_came_before_it_waited_is_seen(store: Store) -> None:
    """Nobody withdraws it any more: it held one of the engine's slots until somebody else's adapters left."""
    store.acquire(("a", 1.0), ("b", 1.0))
    store.cancelled = Cancelled("x")
    store.acquire(("c", 1.0))
    assert store.errors == [store.cancelled]
    write(store.folder, "copy", "0")
    store.acquire(("copy", 1.0), ("c", 1.0))
    assert store.errors == [store.cancelled] * 2
    assert store.store._slots.waiting == 0
    assert len(store.begun) == 1


def test_one_that_is_on_offer_no_more_leaves_both_memories_with_its_last_request(store: Store, tmp_path: Path) -> None:
    stack = store.acquire(("a", 1.0))
    store.store.forget(str(tmp_path / "a"))
    assert store.store.statistics()["lora_host"].bytes == 0
    assert store.store.statistics()["lora_device"].bytes == SIZE_BYTES
    assert stack.updates()["unet"]
    store.store.release(stack)
    assert store.store.statistics()["lora_device"].bytes == 0


def test_a_fault_names_the_adapter_and_the_file(store: Store) -> None:
    write(store.folder, "bad", "no number")
    store.acquire(("a", 1.0), ("bad", 1.0))
    (error,) = store.errors
    assert isinstance(error, InvalidArgument)
    assert str(error) == "invalid_argument: lora: 'bad' cannot be used: bad: no number"


def test_more_than_ever_fit_are_refused(store: Store) -> None:
    store.acquire(("a", 1.0), ("b", 1.0), ("c", 1.0))
    (error,) = store.errors
    assert isinstance(error, InvalidArgument)
    assert "2 are the most" in str(error)


def test_an_adapter_can_be_checked_beforehand(store: Store, tmp_path: Path) -> None:
    assert "unet" in store.store.check(str(tmp_path / "a"))
    assert store.reader.reads == ["a"]
    store.acquire(("a", 1.0))
    assert store.reader.reads == ["a"]
    with pytest.raises(AdapterError, match="bad"):
        store.store.check(write(tmp_path, "bad", "x"))


def test_statistics_are_of_both_caches(store: Store) -> None:
    store.store.release(store.acquire(("a", 1.0)))
    store.store.release(store.acquire(("a", 1.0)))
    statistics = store.store.statistics()
    assert (statistics["lora_device"].hits, statistics["lora_device"].misses) == (1, 1)
    assert statistics["lora_device"].bytes == SIZE_BYTES
    store.store.leave_device()
    assert store.store.statistics()["lora_device"].bytes == 0
    assert store.store.statistics()["lora_host"].bytes == SIZE_BYTES


def test_after_the_end_nothing_is_read(store: Store) -> None:
    store.store.close()
    store.store.acquire(store.stack(("a", 1.0)))
    assert "shutting down" in str(store.errors[0])
