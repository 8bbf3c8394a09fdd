"""The engine's process, played by a test: what it is told, and what it says."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from imagegen.engine.worker.messages import (
    Asleep,
    Close,
    Closed,
    Frames,
    Generate,
    Images,
    Left,
    Ready,
    Sleep,
    Wake,
    frames_of,
    message_to_worker,
)
from imagegen_client import ModelDescription
from tests.unit.reports import generation_report

DESCRIPTION = ModelDescription(
    model="tiny", tasks={"text-to-image": ("strength",)}, native_size="64x64", granularity_px=8,
    upscaling=1, schedulers=("ddim",), scheduler="ddim", previews=False,
)  # fmt: skip
READY = Ready(DESCRIPTION)


class Process:
    """What `WorkerProcess` is for `EngineProcess`.

    Attributes:
        heard: messages that it was sent.
        killed: why.
        finishes_requests: whether it gives an image for what it is to generate.
        replies: what it says to a message of a kind; nothing to others.
    """

    all: list[Process]
    on_start: Callable[[Process], None]
    pid = 77

    def __init__(self, folder: Path) -> None:
        self.heard: list[Any] = []
        self.killed: list[str] = []
        self.replies: dict[type[Any], Any] = {Sleep: Asleep(), Wake: READY}
        self.finishes_requests = False
        self._said: queue.SimpleQueue[Frames | None] = queue.SimpleQueue()
        self._reason = "killed"
        type(self).all.append(self)
        type(self).on_start(self)

    def say(self, message: Any, *arrays: Any) -> None:
        self._said.put(frames_of(message, *arrays))

    def finish_all(self) -> None:
        """Give an image for each request that it was sent."""
        for request in [message for message in self.heard if isinstance(message, Generate)]:
            self._finish(request)

    def _finish(self, request: Generate) -> None:
        frames = np.zeros((1, 8, 8, 3), np.uint8)
        self.say(Images(request.number, frames.shape, (1,), generation_report().to_json()), frames)
        self.say(Left(request.number))

    def end(self, reason: str = "killed") -> None:
        self._reason = reason
        self._said.put(None)

    def send(self, frames: Frames) -> None:
        message = message_to_worker(frames[0])
        self.heard.append(message)
        if type(message) in self.replies:
            self.say(self.replies[type(message)])
        if isinstance(message, Close):
            self.say(Closed())
            self.end("closed")
        elif isinstance(message, Generate) and self.finishes_requests:
            self._finish(message)

    def messages(self) -> Iterator[Frames]:
        while True:
            try:
                said = self._said.get(timeout=0.05)
            except queue.Empty:
                yield ()
                continue
            if said is None:
                return
            yield said

    def kill(self, why: str) -> None:
        self.killed.append(why)
        self.end(why)

    def close(self) -> str:
        return self._reason
