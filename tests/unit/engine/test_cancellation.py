"""The watch cancels the orders whose clients have gone, those alone, and asks nobody who has been answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from imagegen.engine.cancellation import CancellationWatch
from imagegen.engine.generation_job import Order

PATIENCE_S = 10


class Client:
    """A client that is asked about from the watch's thread.

    Attributes:
        gone: what it answers.
        asked: set when it has been asked since the last `clear`.
    """

    def __init__(self) -> None:
        self.gone = False
        self.asked = threading.Event()
        self.cancelled = threading.Event()
        self.order = Order(lambda index: index, 1, lambda frames, error: None)

    def is_cancelled(self) -> bool:
        self.asked.set()
        return self.gone

    def is_told_to_stop(self) -> bool:
        return self.order._stop() is not None


@pytest.fixture
def watch() -> Iterator[CancellationWatch]:
    watch = CancellationWatch()
    yield watch
    watch.close()


def wait_for_two_rounds(watch: CancellationWatch) -> None:
    """Every client watched now is asked at least once, and what followed from it has been done."""
    for _ in range(2):
        probe = Client()
        watch.add(probe.order, probe.is_cancelled)
        assert probe.asked.wait(PATIENCE_S)
        watch.remove(probe.order)


def test_only_the_order_whose_client_has_gone_is_cancelled(watch: CancellationWatch) -> None:
    leaves, stays = Client(), Client()
    for client in (leaves, stays):
        watch.add(client.order, client.is_cancelled)
    wait_for_two_rounds(watch)
    assert not leaves.is_told_to_stop()
    leaves.gone = True
    wait_for_two_rounds(watch)
    assert leaves.is_told_to_stop()
    assert not stays.is_told_to_stop()


def test_a_cancelled_order_is_not_asked_about_again(watch: CancellationWatch) -> None:
    client = Client()
    client.gone = True
    watch.add(client.order, client.is_cancelled)
    wait_for_two_rounds(watch)
    client.asked.clear()
    wait_for_two_rounds(watch)
    assert not client.asked.is_set()


def test_a_removed_order_is_not_asked_about_again(watch: CancellationWatch) -> None:
    client = Client()
    watch.add(client.order, client.is_cancelled)
    assert client.asked.wait(PATIENCE_S)
    watch.remove(client.order)
    watch.remove(client.order)  # of no effect
    wait_for_two_rounds(watch)  # a round may have begun before
    client.asked.clear()
    wait_for_two_rounds(watch)
    assert not client.asked.is_set()


def test_close_ends_the_thread() -> None:
    before = set(threading.enumerate())
    watch = CancellationWatch()
    [thread] = set(threading.enumerate()) - before
    assert thread.daemon
    watch.close()
    assert not thread.is_alive()
