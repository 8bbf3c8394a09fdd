"""Empty requests are sent when, and only when, Triton's queue may be asleep."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from imagegen.triton.queue_waker import QueueWaker


class Server:
    """Counts what is sent; responds at once, or when it is let."""

    def __init__(self) -> None:
        self.sent = threading.Semaphore(0)
        self.respond = threading.Event()
        self.respond.set()

    def send(self) -> None:
        self.sent.release()
        assert self.respond.wait(30)

    def was_sent(self, within_s: float = 30) -> bool:
        return self.sent.acquire(timeout=within_s)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.respond.set()


@pytest.fixture
def waker(server: Server) -> Iterator[QueueWaker]:
    waker = QueueWaker(server.send, max_pending=3)
    yield waker
    server.respond.set()
    waker.close()


def execute(waker: QueueWaker, *, real: bool) -> None:
    waker.entered()
    waker.returned(real=real)


def test_one_request_after_a_real_one_and_none_after_its_own(waker: QueueWaker, server: Server) -> None:
    execute(waker, real=True)
    assert server.was_sent()
    execute(waker, real=False)  # what was sent arrives
    assert not server.was_sent(within_s=0.1)


def test_none_while_execute_runs(waker: QueueWaker, server: Server) -> None:
    execute(waker, real=True)
    waker.entered()
    assert not server.was_sent(within_s=0.1)
    waker.returned(real=True)
    assert server.was_sent()


def test_another_when_the_last_sleeps_itself_but_never_more_than_the_bound(waker: QueueWaker, server: Server) -> None:
    server.respond.clear()
    execute(waker, real=True)
    assert all(server.was_sent() for _ in range(3))
    assert not server.was_sent(within_s=0.1)
    server.respond.set()


def test_a_failing_send_ends_nothing(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    def send() -> None:
        server.sent.release()
        raise RuntimeError("no")

    caplog.set_level(logging.DEBUG)
    waker = QueueWaker(send, max_pending=3)
    for _ in range(2):
        execute(waker, real=True)
        assert server.was_sent()
    waker.close()
    assert "could not be woken: no" in caplog.text
