"""Two ZeroMQ pipes between the process of a server and its engine's process, one each way.

The worker binds, the server's process connects: what it sends before the worker is up, or after it has died, is kept or
dropped, and never blocks.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import zmq

from imagegen.engine.worker.messages import Frames

_SUFFIXES = (".asked", ".told")  # short: the path of a socket has a hundred characters or so


class Connection:
    """One end. `send` is safe from any thread; all else is for one.

    Args:
        base: path of the two sockets, without their suffixes; a hundred characters at most.
        is_worker: which end this is.

    Attributes:
        base: as given.
    """

    def __init__(self, base: Path, *, is_worker: bool) -> None:
        self.base = base
        self._context = zmq.Context()
        # The first frame that is too large to be copied starts a thread of pyzmq's: now, not when memory is short.
        zmq.Frame(bytes(zmq.COPY_THRESHOLD))
        self._lock = threading.Lock()
        self._paths = [base.with_name(base.name + suffix) for suffix in _SUFFIXES]
        to_worker, from_worker = (f"ipc://{path}" for path in self._paths)
        self._sending, self.receiving = self._context.socket(zmq.PUSH), self._context.socket(zmq.PULL)
        for socket in (self._sending, self.receiving):
            socket.sndhwm = socket.rcvhwm = 0  # bounded by how many requests are active
        if is_worker:
            self.receiving.bind(to_worker)
            self._sending.bind(from_worker)
        else:
            self._sending.connect(to_worker)
            self.receiving.connect(from_worker)

    @classmethod
    def worker(cls, base: Path) -> Self:
        """The worker's end."""
        return cls(base, is_worker=True)

    @classmethod
    def server(cls, base: Path) -> Self:
        """The end of the server's process."""
        return cls(base, is_worker=False)

    def send(self, frames: Frames) -> None:
        """Send a message; its arrays must not change any more."""
        # All of them before the first is sent: what fails for want of memory must not leave half a message.
        parts = [zmq.Frame(frame) for frame in frames]
        with self._lock:
            if not self._sending.closed:
                self._sending.send_multipart(parts, copy=False)

    def receive(self) -> list[Any]:
        """Wait for the next message; buffers of its frames, none of which is copied."""
        return [frame.buffer for frame in self.receiving.recv_multipart(copy=False)]

    def received(self) -> Iterator[list[Any]]:
        """The messages that are there by now."""
        while self.receiving.poll(0):
            yield self.receive()

    def close(self, linger_ms: int = 0) -> None:
        """Send what has been sent within `linger_ms` milliseconds, and no more; remove the sockets."""
        with self._lock:
            self._context.destroy(linger=linger_ms)
        for path in self._paths:
            path.unlink(missing_ok=True)
