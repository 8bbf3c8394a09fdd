"""Messages between the processes of one server that Triton does not carry: events from `diffusion`.

Triton gives the diffusion model one response a request and no event before it. So there is a side channel, ZeroMQ over
sockets in a run folder that is this user's alone:

    image_generation_stream                              diffusion, a process an instance
      EventListener   PULL  NAME.events  <─────────────  EventSender     PUSH, one a listener
      Commander       REQ   ────────────────────────────>  CommandServer REP   NAME.commands

The stream gives its diffusion request an id, `NAME.KEY`: where its events go, and whose they are. Sending never waits:
what a listener does not take is dropped, and nothing is sent for requests without such an id. What goes the other way,
cancels and an administrator's commands, is in `imagegen.triton.commands`.

Nothing that arrives is trusted: sizes are bounded, and what is malformed is ignored.
"""

from __future__ import annotations

import logging
import re
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import zmq

from imagegen.api.events import Event, decode_event, encode_event

_EVENTS = ".events"
_STREAM_ID = re.compile(r"([0-9a-f]{16})\.[0-9a-f]{32}", re.ASCII)
_MAX_FRAME_BYTES = 4 * 2**20
_MAX_WAITING = 1000  # events, for a listener that does not keep up
_MAX_LISTENERS = 8  # more come only by reloading the stream model again and again
_POLL_MS = 200  # how soon a thread notices that it is to end

_LOGGER = logging.getLogger(__name__)


def is_stream_id(text: str) -> bool:
    """Whether `text` is an id that an `EventListener` made."""
    return _STREAM_ID.fullmatch(text) is not None


class EventSender:
    """Sends events to listeners. Safe from any thread: the end of a cancelled request comes from who cancels it.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._context = zmq.Context()
        self._sockets: OrderedDict[str, zmq.Socket[bytes]] = OrderedDict()
        self._lock = threading.Lock()  # a socket that two threads use at once ends the process

    def send(self, stream_id: str, event: Event) -> None:
        """Send an event to whoever made `stream_id`; it is dropped when nobody takes it."""
        try:
            with self._lock:
                socket = self._socket(stream_id)
                if socket is not None:
                    socket.send_multipart([stream_id.encode(), *encode_event(event)], zmq.NOBLOCK)
        except (zmq.ZMQError, OSError) as error:  # Again: the listener does not keep up
            _LOGGER.debug("an event of stream %s was dropped: %s", stream_id, error)

    def close(self) -> None:
        """Send no more."""
        with self._lock:
            self._context.destroy(linger=0)
            self._sockets.clear()

    def _socket(self, stream_id: str) -> zmq.Socket[bytes] | None:
        match = _STREAM_ID.fullmatch(stream_id)
        if match is None:
            return None
        name = match[1]
        socket = self._sockets.get(name)
        if socket is None:
            path = self._folder / (name + _EVENTS)
            if not path.exists():
                return None
            while len(self._sockets) >= _MAX_LISTENERS:
                self._sockets.popitem(last=False)[1].close(linger=0)
            socket = self._sockets[name] = self._context.socket(zmq.PUSH)
            socket.sndhwm = _MAX_WAITING
            socket.connect(f"ipc://{path}")
        self._sockets.move_to_end(name)
        return socket


class Receiver:
    """Binds a socket in the run folder and takes what comes on a thread of its own.

    Args:
        path: of the socket.
        kind: of the socket: zmq.PULL or zmq.REP.
        largest_bytes: longer messages are dropped.
        take: takes each message, on that thread; what it returns is sent back, where the socket replies.
    """

    def __init__(self, path: Path, kind: int, largest_bytes: int, take: Callable[[list[bytes]], bytes | None]) -> None:
        self._path = path
        self._take = take
        self._closed = threading.Event()
        self._context = zmq.Context()
        self._socket = self._context.socket(kind)
        self._socket.rcvhwm = _MAX_WAITING
        self._socket.maxmsgsize = largest_bytes
        self._socket.bind(f"ipc://{path}")
        self._thread = threading.Thread(target=self._run, name=path.suffix, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more."""
        self._closed.set()
        self._thread.join()
        self._context.destroy(linger=0)
        self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._closed.is_set():
            if self._socket.poll(_POLL_MS):
                reply = self._take(self._socket.recv_multipart())
                if reply is not None:
                    self._socket.send(reply)


class EventListener:
    """Takes events on a thread of its own.

    Args:
        folder: the run folder.
        deliver: takes each event with its stream id, on that thread.
    """

    def __init__(self, folder: Path, deliver: Callable[[str, Event], None]) -> None:
        self._name = uuid.uuid4().hex[:16]
        self._deliver = deliver
        self._receiver = Receiver(folder / (self._name + _EVENTS), zmq.PULL, _MAX_FRAME_BYTES, self._take)

    def new_stream_id(self) -> str:
        """An id for one request, which nobody can guess."""
        return f"{self._name}.{uuid.uuid4().hex}"

    def close(self) -> None:
        """Listen no more."""
        self._receiver.close()

    def _take(self, frames: list[bytes]) -> None:
        try:
            stream_id, header, pixels = frames
            event = decode_event(header, pixels)
        except (ValueError, TypeError, KeyError, RecursionError):
            _LOGGER.debug("something that is no event was ignored")
            return
        try:
            self._deliver(stream_id.decode(errors="replace"), event)
        except Exception:  # one stream must not end those of others
            _LOGGER.exception("an event could not be delivered")
