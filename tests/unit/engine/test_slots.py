"""A slot is a request that is being drawn: as many as configured, and waiting for one ends with the client."""

from __future__ import annotations

import threading
import time

import pytest

from imagegen.api.errors import Cancelled, DeadlineExceeded
from imagegen.engine.slots import Slots


def never() -> bool:
    return False


def test_free_slots_are_taken_at_once_and_no_more_than_there_are() -> None:
    slots = Slots(3)
    for _ in range(3):
        slots.take(never, deadline_s=time.monotonic() + 60)
    with pytest.raises(DeadlineExceeded, match="timeout_ms passed before the request was started"):
        slots.take(never, deadline_s=time.monotonic() + 0.1)


def test_a_request_whose_deadline_passed_in_the_queue_takes_no_slot() -> None:
    slots = Slots(1)
    with pytest.raises(DeadlineExceeded, match="before the request was started"):
        slots.take(never, deadline_s=time.monotonic() - 1)
    slots.take(never, None)


def test_a_slot_given_back_wakes_a_waiting_request() -> None:
    slots = Slots(1)
    slots.take(never, None)
    waits, taken = threading.Event(), threading.Event()

    def is_cancelled() -> bool:
        waits.set()
        return False

    def wait() -> None:
        slots.take(is_cancelled, None)
        taken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert waits.wait(10)
    assert not taken.is_set()
    slots.give_back()
    assert taken.wait(10)
    thread.join()


def test_a_client_that_walked_away_takes_no_free_slot() -> None:
    """A cancel of several frees slots; one of those that wait was let in before it was asked, and drawn to its end."""
    slots = Slots(1)
    with pytest.raises(Cancelled):
        slots.take(lambda: True, None)
    slots.take(never, deadline_s=time.monotonic() + 60)


def test_a_client_that_walks_away_ends_the_wait_and_takes_no_slot() -> None:
    slots = Slots(1)
    slots.take(never, None)
    asked: list[bool] = []

    def is_cancelled() -> bool:
        asked.append(True)
        return len(asked) == 2

    with pytest.raises(Cancelled, match="the client cancelled"):
        slots.take(is_cancelled, None)
    assert len(asked) == 2
    slots.give_back()
    slots.take(never, None)


def test_the_deadline_ends_the_wait() -> None:
    slots = Slots(1)
    slots.take(never, None)
    with pytest.raises(DeadlineExceeded):
        slots.take(never, deadline_s=time.monotonic() + 0.01)


def test_a_slot_cannot_be_given_back_twice() -> None:
    slots = Slots(1)
    slots.take(never, None)
    slots.give_back()
    with pytest.raises(ValueError, match="released too many times"):
        slots.give_back()


def test_many_threads_never_hold_more_slots_than_there_are() -> None:
    slots, lock = Slots(3), threading.Lock()
    holding = most = done = 0

    def request() -> None:
        nonlocal holding, most, done
        for _ in range(50):
            slots.take(never, None)
            with lock:
                holding += 1
                most = max(most, holding)
            with lock:
                holding -= 1
                done += 1
            slots.give_back()

    threads = [threading.Thread(target=request) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == 400
    assert most <= 3
