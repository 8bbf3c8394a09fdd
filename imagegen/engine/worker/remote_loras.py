"""LoRA adapters that the engine's process is told to offer, or to offer no more, and what it says to that."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future

from imagegen.api.errors import Unavailable
from imagegen.engine.worker.messages import Frames, LoadLora, LoraReply, UnloadLora, frames_of
from imagegen.engine.worker.wire_errors import error_of

Send = Callable[[Frames], None]


class RemoteLoras:
    """Tells the engine's process of adapters. Safe from any thread.

    Args:
        send: sends to the process at the moment; None where there is none.
    """

    def __init__(self, send: Callable[[], Send | None]) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._asked: dict[int, Future[None]] = {}

    def load(self, name: str, where: str) -> None:
        """Have an adapter read and offered, and wait until it is.

        Raises:
            InvalidArgument: it cannot be read, or does not fit the model.
            Unavailable: there is no process, or it ended meanwhile.
        """
        number, done = next(self._numbers), Future[None]()
        with self._lock:
            self._asked[number] = done
        send = self._send()  # after it is known that somebody waits: its end is told to those
        if send is not None:
            send(frames_of(LoadLora(number, name, where)))
        if send is None or self._send() != send:  # it has ended, maybe before that was known
            self._end(number, _no_process())
        done.result()

    def unload(self, name: str) -> None:
        """Have an adapter offered no more. A process that is started later knows by itself."""
        send = self._send()
        if send is not None:
            send(frames_of(UnloadLora(name)))

    def told(self, message: LoraReply) -> None:
        """The process has said what became of it."""
        self._end(message.number, None if message.failed is None else error_of(message.failed))

    def lost(self) -> None:
        """The process has ended."""
        with self._lock:
            asked = list(self._asked)
        for number in asked:
            self._end(number, _no_process())

    def _end(self, number: int, error: BaseException | None) -> None:
        with self._lock:
            done = self._asked.pop(number, None)
        if done is not None and error is None:
            done.set_result(None)
        elif done is not None:
            done.set_exception(error)


def _no_process() -> Unavailable:
    return Unavailable("the engine has no process at the moment; try again when it is ready")
