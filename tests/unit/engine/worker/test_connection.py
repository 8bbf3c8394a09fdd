"""Messages go both ways in order, whichever end is there first, and sending never blocks."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest
from zmq.utils import garbage

from imagegen.engine.worker.connection import Connection


def test_messages_go_both_ways_in_order_whoever_is_there_first(folder: Path) -> None:
    server = Connection.server(folder / "x")
    for number in range(100):
        server.send([b"%d" % number, b"pixels" * 10_000])
    worker = Connection.worker(folder / "x")
    assert [bytes(worker.receive()[0]) for _ in range(100)] == [b"%d" % number for number in range(100)]
    worker.send([b"done"])
    assert [bytes(part) for part in server.receive()] == [b"done"]
    assert list(server.received()) == []
    worker.close()
    server.close()
    assert list(folder.iterdir()) == []


def test_a_message_that_cannot_be_sent_is_not_sent_in_part(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first frames became part of the next message, of another request, when memory was short."""
    server, worker = Connection.server(folder / "x"), Connection.worker(folder / "x")

    def fail(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as short:
        short.setattr(garbage.gc, "store", fail)
        with pytest.raises(RuntimeError, match="new thread"):
            worker.send([b"one", b"pixels" * 100_000])
    worker.send([b"other", b"levels" * 100_000])
    assert [bytes(part) for part in server.receive()] == [b"other", b"levels" * 100_000]
    worker.close()
    server.close()


def test_threads_may_send_at_the_same_time(folder: Path) -> None:
    server, worker = Connection.server(folder / "x"), Connection.worker(folder / "x")

    def send(name: bytes) -> None:
        for number in range(200):
            worker.send([name, b"%d" % number, name * 1000])

    threads = [threading.Thread(target=send, args=(name,)) for name in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    heard: Counter[bytes] = Counter()
    for _ in range(600):
        name, number, long = (bytes(part) for part in server.receive())
        assert number == b"%d" % heard[name]
        assert long == name * 1000
        heard[name] += 1
    for thread in threads:
        thread.join()
    worker.close()
    server.close()


def test_to_send_to_nobody_does_not_block_and_after_the_end_does_nothing(folder: Path) -> None:
    server = Connection.server(folder / "x")
    for _ in range(5000):
        server.send([b"x" * 1000])
    server.close()
    server.send([b"y"])
