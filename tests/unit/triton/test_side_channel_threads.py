"""Events that several threads send at once all arrive, unchanged."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import zmq

from imagegen.api.events import Event, Preview, Progress
from imagegen.triton.side_channel import EventSender
from tests.unit.triton.test_side_channel import Ear, preview


def test_threads_may_send_at_once(folder: Path) -> None:
    """A request that is cancelled ends on the canceller's thread, while the device's publishes the steps of others."""
    ear, sender = Ear(folder), EventSender(folder)
    threads, each = 8, 100
    ids = [ear.listener.new_stream_id() for _ in range(threads)]
    begin = threading.Barrier(threads)
    in_socket: list[int] = []
    most = [0]
    send_multipart = zmq.Socket.send_multipart

    def spied(socket: zmq.Socket[bytes], *arguments: Any, **options: Any) -> Any:
        in_socket.append(1)
        most[0] = max(most[0], len(in_socket))
        time.sleep(0.0001)  # lets another thread in, were there no lock
        try:
            return send_multipart(socket, *arguments, **options)
        finally:
            in_socket.pop()

    def send(stream_id: str) -> None:
        begin.wait()
        for step in range(each):
            sender.send(stream_id, preview() if step == each // 2 else Progress(step, each))

    with mock.patch.object(zmq.Socket, "send_multipart", spied), ThreadPoolExecutor(threads) as pool:
        list(pool.map(send, ids))
    heard: dict[str, list[Event]] = {stream_id: [] for stream_id in ids}
    for _ in range(threads * each):
        stream_id, event = ear.next()
        heard[stream_id].append(event)
    sender.close()
    ear.listener.close()
    assert most == [1], "two threads were in one socket, which may end the process"
    for events in heard.values():
        pixels = events.pop(each // 2)
        assert isinstance(pixels, Preview)
        assert np.array_equal(pixels.pixels, preview().pixels)
        assert [event.step for event in events if isinstance(event, Progress)] == [
            step for step in range(each) if step != each // 2
        ]
