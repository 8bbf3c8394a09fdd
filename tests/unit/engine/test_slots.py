"""As many requests hold a slot as configured; the others wait, least work first, in threads or in asyncio."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen.api.errors import Cancelled, DeadlineExceeded, Unavailable
from imagegen.engine.slots import Slots, Ticket, wait, wait_async

TIMEOUT_S = 10


def soon() -> float:
    """A deadline that passes while the test waits for it."""
    return time.monotonic() + 0.02


def test_free_slots_are_held_at_once_and_no_more_than_there_are() -> None:
    slots = Slots(3)
    tickets = [slots.enter() for _ in range(5)]
    assert [ticket.done() for ticket in tickets] == [True, True, True, False, False]
    assert (slots.held, slots.waiting) == (3, 2)


def test_of_equal_work_slots_are_given_in_the_order_of_arrival() -> None:
    slots = Slots(1)
    first, second, third = (slots.enter() for _ in range(3))
    slots.leave(first)
    assert (second.done(), third.done()) == (True, False)
    slots.leave(second)
    assert third.done()
    slots.leave(third)
    assert (slots.held, slots.waiting) == (0, 0)


def test_who_leaves_the_line_or_leaves_twice_frees_no_slot_of_others() -> None:
    slots = Slots(1)
    first, second, third = (slots.enter() for _ in range(3))
    slots.leave(second)
    slots.leave(second)
    assert (slots.held, slots.waiting, third.done()) == (1, 1, False)
    slots.leave(first)
    slots.leave(first)
    assert third.done()
    assert slots.held == 1


def test_a_request_whose_deadline_passed_in_a_queue_does_not_start_though_a_slot_is_free() -> None:
    with pytest.raises(DeadlineExceeded, match="timeout_ms passed before the request was started"):
        wait(Slots(1).enter(), time.monotonic() - 1)


def test_the_deadline_ends_the_wait() -> None:
    slots = Slots(1)
    slots.enter()
    with pytest.raises(DeadlineExceeded, match="before the request was started"):
        wait(slots.enter(), soon())
    with pytest.raises(DeadlineExceeded, match="before the request was started"):
        asyncio.run(wait_async(slots.enter(), soon()))


def test_a_slot_that_is_freed_wakes_who_waits_in_a_thread() -> None:
    slots = Slots(1)
    first, second = slots.enter(), slots.enter()
    woken = threading.Event()

    def wait_for_it() -> None:
        wait(second, None)
        woken.set()

    thread = threading.Thread(target=wait_for_it)
    thread.start()
    assert not woken.is_set()
    slots.leave(first)
    assert woken.wait(TIMEOUT_S)
    thread.join()


def test_a_slot_that_is_freed_by_a_thread_wakes_who_waits_in_asyncio() -> None:
    slots = Slots(1)
    first = slots.enter()

    async def wait_for_it() -> None:
        thread = threading.Thread(target=slots.leave, args=(first,))
        ticket = slots.enter()
        asyncio.get_running_loop().call_soon(thread.start)
        await asyncio.wait_for(wait_async(ticket, None), TIMEOUT_S)
        thread.join()

    asyncio.run(wait_for_it())
    assert slots.held == 1


def test_a_task_that_is_cancelled_while_it_waits_gets_no_slot() -> None:
    slots = Slots(1)
    first = slots.enter()

    async def give_up(ticket: Ticket) -> None:
        task = asyncio.create_task(wait_async(ticket, None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    given_up, last = slots.enter(), slots.enter()
    asyncio.run(give_up(given_up))
    slots.leave(first)
    assert last.done()
    slots.leave(given_up)
    assert (slots.held, slots.waiting) == (1, 0)


def test_who_is_refused_is_told_why_and_waits_no_longer() -> None:
    slots = Slots(1)
    first, second = slots.enter(), slots.enter()
    slots.refuse(second, Cancelled("the client cancelled the request"))
    with pytest.raises(Cancelled, match="the client cancelled"):
        wait(second, None)
    slots.refuse(first, Cancelled("of no effect on one that holds a slot"))
    wait(first, None)
    assert (slots.held, slots.waiting) == (1, 0)


def test_closed_slots_refuse_who_waits_and_who_comes() -> None:
    slots = Slots(1)
    first, second = slots.enter(), slots.enter()
    slots.close()
    with pytest.raises(Unavailable, match="shutting down"):
        wait(second, None)
    with pytest.raises(Unavailable, match="shutting down"):
        slots.enter()
    slots.leave(first)
    assert slots.held == 0


def test_many_threads_never_hold_more_slots_than_there_are() -> None:
    slots, lock = Slots(3), threading.Lock()
    holding = most = done = 0

    def request() -> None:
        nonlocal holding, most, done
        for _ in range(50):
            ticket = slots.enter()
            wait(ticket, None)
            with lock:
                holding += 1
                most = max(most, holding)
            with lock:
                holding -= 1
                done += 1
            slots.leave(ticket)

    threads = [threading.Thread(target=request) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == 400
    assert most <= 3
    assert (slots.held, slots.waiting) == (0, 0)


def test_paused_nobody_gets_a_slot_and_nobody_is_refused() -> None:
    slots = Slots(2)
    held = slots.enter()
    slots.pause()
    waiting = [slots.enter() for _ in range(3)]
    slots.leave(held)
    assert not any(ticket.done() for ticket in waiting)
    slots.resume()
    assert [ticket.done() for ticket in waiting] == [True, True, False]


def test_who_has_least_work_is_next() -> None:
    slots = Slots(1)
    held = slots.enter(1)
    waiting = {work: slots.enter(work) for work in (50, 4, 20)}
    for work in (4, 20, 50):
        slots.leave(held)
        held = waiting.pop(work)
        assert held.done()
        assert not any(ticket.done() for ticket in waiting.values())


def test_who_has_waited_longest_is_passed_over_seven_times_at_most() -> None:
    slots = Slots(1)
    held, long = slots.enter(), slots.enter(1000)
    for _ in range(Slots.OVERTAKING):
        short = slots.enter(1)
        slots.leave(held)
        held = short
        assert (short.done(), long.done()) == (True, False)
    short = slots.enter(1)
    slots.leave(held)
    assert (short.done(), long.done()) == (False, True)


@given(st.lists(st.sampled_from([1.0, 4.0, 50.0]), min_size=2, max_size=60), st.integers(1, 4))
def test_nobody_is_passed_over_more_often_than_is_said(works: list[float], count: int) -> None:
    """Of a line that is there from the start, in which short ones come in after each that is begun."""
    slots = Slots(count)
    held = [slots.enter() for _ in range(count)]
    line = [slots.enter(work) for work in works]
    begun = 0
    while not all(ticket.done() for ticket in line):
        newcomer = slots.enter(1.0)
        before = [ticket.done() for ticket in line]
        slots.leave(held.pop(0))
        begun += 1
        [next_one] = [t for t, was in zip([*line, newcomer], [*before, False], strict=True) if t.done() and not was]
        held.append(next_one)
        if not newcomer.done():
            slots.refuse(newcomer, Cancelled("gone"))
        for ahead, ticket in enumerate(line):
            if ticket is next_one:
                assert begun - 1 <= (Slots.OVERTAKING + 1) * ahead + Slots.OVERTAKING
