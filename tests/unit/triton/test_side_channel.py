"""Events arrive in order and unchanged, and nothing that arrives does harm."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq

from imagegen.api.events import Ended, Event, Preview, Progress
from imagegen.triton.side_channel import EventListener, EventSender, is_stream_id

TIMEOUT_S = 10


class Ear:
    """A listener, and what it heard."""

    def __init__(self, folder: Path) -> None:
        self.heard: queue.SimpleQueue[tuple[str, Event]] = queue.SimpleQueue()
        self.listener = EventListener(folder, lambda stream_id, event: self.heard.put((stream_id, event)))

    def next(self) -> tuple[str, Event]:
        return self.heard.get(timeout=TIMEOUT_S)


@pytest.fixture
def ear(folder: Path) -> Iterator[Ear]:
    ear = Ear(folder)
    yield ear
    ear.listener.close()


@pytest.fixture
def sender(folder: Path) -> Iterator[EventSender]:
    sender = EventSender(folder)
    yield sender
    sender.close()


def preview(height: int = 4, width: int = 6) -> Preview:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Preview(Progress(3, 9), 1, 2, (width * 8, height * 8), pixels)


def test_events_arrive_in_order_and_unchanged_from_the_first_on(ear: Ear, sender: EventSender) -> None:
    stream_id = ear.listener.new_stream_id()
    sent: list[Event] = [Progress(1, 9), Progress(2, 9), preview(), Progress(9, 9), Ended()]
    for event in sent:
        sender.send(stream_id, event)
    for event in sent:
        heard_id, heard = ear.next()
        assert heard_id == stream_id
        if isinstance(event, Preview):
            assert isinstance(heard, Preview)
            assert np.array_equal(heard.pixels, event.pixels)
            fields = ("progress", "preview_index", "image_index", "size")
            assert [getattr(heard, name) for name in fields] == [getattr(event, name) for name in fields]
        else:
            assert heard == event


def test_each_listener_hears_its_own_of_every_sender(folder: Path) -> None:
    ears = [Ear(folder), Ear(folder)]
    senders = [EventSender(folder), EventSender(folder)]
    for step, sender in enumerate(senders):
        for ear in ears:
            sender.send(ear.listener.new_stream_id(), Progress(step, 9))
    for ear in ears:
        assert sorted(event.step for _, event in (ear.next(), ear.next()) if isinstance(event, Progress)) == [0, 1]
        ear.listener.close()
        assert ear.heard.empty()
    for sender in senders:
        sender.close()
    assert list(folder.iterdir()) == []


def test_stream_ids_are_distinct_and_known_as_such(ear: Ear) -> None:
    ids = {ear.listener.new_stream_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(map(is_stream_id, ids))


@pytest.mark.parametrize("text", ["", "x", "../../etc/passwd.x", "0" * 16 + "." + "0" * 31, "0" * 16 + "." + "0" * 33])
def test_other_texts_are_none_and_lead_nowhere(sender: EventSender, text: str) -> None:
    assert not is_stream_id(text)
    sender.send(text, Ended())


def test_sending_never_waits_whether_nobody_was_ever_there_or_somebody_has_disconnected_or_sleeps(
    folder: Path, sender: EventSender
) -> None:
    sender.send("0" * 16 + "." + "0" * 32, Progress(1, 2))
    closed = EventListener(folder, lambda stream_id, event: None)
    stream_id = closed.new_stream_id()
    sender.send(stream_id, Progress(1, 2))
    closed.close()
    awake = threading.Event()

    def sleep(stream_id: str, event: Event) -> None:
        awake.wait(TIMEOUT_S)

    sleeping = EventListener(folder, sleep)
    for step in range(5000):
        sender.send(stream_id, Progress(step, 5000))
        sender.send(sleeping.new_stream_id(), Progress(step, 5000))
    awake.set()
    sleeping.close()


def test_a_listener_whose_owner_fails_goes_on(folder: Path, sender: EventSender) -> None:
    heard: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def deliver(stream_id: str, event: Event) -> None:
        heard.put(event)
        raise ValueError

    listener = EventListener(folder, deliver)
    for step in (1, 2):
        sender.send(listener.new_stream_id(), Progress(step, 2))
    assert [heard.get(timeout=TIMEOUT_S) for _ in range(2)] == [Progress(1, 2), Progress(2, 2)]
    listener.close()


BAD: list[list[bytes]] = [
    [b""],
    [b"id", b"{}"],
    [b"id", b"{}", b"", b""],
    [b"id", b"not json", b""],
    [b"id", b"\xff\xfe", b""],
    [b"id", b"[" * 100_000, b""],
    [b"id", b"[]", b""],
    [b"id", b"7", b""],
    [b"id", b'{"progress": 7}', b""],
    [b"id", b'{"progress": [1]}', b""],
    [b"id", b'{"progress": [1, "2"]}', b""],
    [b"id", b'{"progress": [-1, 2]}', b""],
    [b"id", b'{"progress": [true, 2]}', b""],
    [b"id", b'{"progress": [1, 1e400]}', b""],
    [b"id", b'{"progress": [1, 99999999999999999999]}', b""],
    [b"id", b'{"progress": [1, 2], "preview": [0, 0], "size": [8, 8], "shape": [1, 1]}', b""],
    [b"id", b'{"progress": [1, 2], "preview": [0, 0], "size": [8, 8], "shape": [0, 0]}', b""],
    [b"id", b'{"progress": [1, 2], "preview": [0, 0], "size": [0, 8], "shape": [1, 1]}', b"rgb"],
    [b"id", b'{"progress": [1, 2], "preview": [0, 0], "size": [8, 8], "shape": [1000000, 1000000]}', b"rgb"],
    [b"id", b'{"progress": [1, 2], "preview": [0], "size": [8, 8], "shape": [1, 1]}', b"rgb"],
    [b"id", b"x" * (5 * 2**20), b""],
]


def test_what_is_no_event_is_ignored(ear: Ear, sender: EventSender, folder: Path) -> None:
    (path,) = folder.glob("*.events")
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.linger = 1000
        socket.connect(f"ipc://{path}")
        for frames in BAD:
            socket.send_multipart(frames)
    sender.send(ear.listener.new_stream_id(), Progress(1, 2))
    assert ear.next()[1] == Progress(1, 2)
    assert ear.heard.empty()


def test_threads_end_with_close(folder: Path) -> None:
    before = set(threading.enumerate())
    made: list[Callable[[], None]] = [
        EventListener(folder, lambda stream_id, event: None).close,
    ]
    assert all(thread.daemon for thread in set(threading.enumerate()) - before)
    for close in made:
        close()
    assert set(threading.enumerate()) <= before
