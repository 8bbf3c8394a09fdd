"""One stream's client while its request is generated: the events it is sent, and whether it still listens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from imagegen.api.events import Ended, Event, Preview, Progress
from imagegen.api.request import OutputChoice
from imagegen.api.tensors import Arrays
from imagegen.images.output.preview_image import preview_image

KEEPALIVE_S = 1.0


class StreamRequest(Protocol):
    """What a stream needs of its request: `imagegen.triton.triton_request.TritonRequest`, or a test's stand-in.

    Attributes:
        request_id: as the client sent it; may be empty.
    """

    request_id: str

    def arrays(self) -> Arrays:
        """The inputs that are present, by name."""

    def wants(self, output: str) -> bool:
        """Whether the client asks for an output."""

    def is_cancelled(self) -> bool:
        """Whether the client has cancelled or disconnected."""

    def send_part(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Send output arrays of which more will follow."""

    def finish(self) -> None:
        """Say that everything has been sent."""

    def fail(self, error: BaseException) -> None:
        """End with an error."""


class StreamSubscription:
    """A client's subscription to the events of its request.

    Args:
        request: the client's.
        choice: how previews are encoded.
        clock: seconds that never go back.

    Attributes:
        ended: set once no event will follow.
    """

    def __init__(
        self, request: StreamRequest, choice: OutputChoice, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.ended = threading.Event()
        self._request = request
        self._choice = choice
        self._clock = clock
        self._progress = Progress(0, 0)
        self._sent_s = clock()
        self._disconnected = False
        # A client that does not want steps is spared a message for each: every one wakes it, Triton and us.
        self._wants_progress = request.wants("step")

    def deliver(self, event: Event) -> None:
        """Send the client an event."""
        if isinstance(event, Ended):
            self.ended.set()
        elif isinstance(event, Progress):
            self._progress = event
            self._send_progress()
        else:
            self._request.send_part(_event("preview", event.progress) | _preview(event, self._choice))

    def has_just_disconnected(self) -> bool:
        """Whether the client has cancelled or disconnected; true once."""
        if self._disconnected:
            return False
        self._disconnected = self._request.is_cancelled()
        return self._disconnected

    def keepalive(self) -> None:
        """Repeat the progress to a client that was sent none for `KEEPALIVE_S`.

        Triton notices that a client of HTTP has disconnected only when something is sent to it.
        """
        if not self._disconnected and self._clock() - self._sent_s > KEEPALIVE_S:
            self._send_progress()

    def complete(self, outputs: Arrays) -> None:
        """Send the images and end the stream."""
        total_steps = self._progress.total_steps
        self._request.send_part(_event("completed", Progress(total_steps, total_steps)) | outputs)
        self._request.finish()

    def _send_progress(self) -> None:
        self._sent_s = self._clock()
        if self._wants_progress:
            self._request.send_part(_event("progress", self._progress))


def _event(name: str, progress: Progress) -> Arrays:
    return {
        "event": np.array([name.encode()], dtype=np.object_),
        "step": np.array([progress.step], dtype=np.int32),
        "total_steps": np.array([progress.total_steps], dtype=np.int32),
    }


def _preview(preview: Preview, choice: OutputChoice) -> Arrays:
    return {
        "preview": np.array([preview_image(preview, choice)], dtype=np.object_),
        "preview_index": np.array([preview.preview_index], dtype=np.int32),
        "image_index": np.array([preview.image_index], dtype=np.int32),
    }
