"""One request being drawn: its images as greenlets of the hub, one outcome for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from imagegen.api.errors import Cancelled, DeadlineExceeded
from imagegen.engine.executor import PipelineRun

Frames = list[Any]


@dataclass(eq=False)
class Order:
    """The images of one request.

    Any image that fails, a cancel or the deadline ends all of them. `finished` is called exactly once, on the
    hub's thread, after the last image has left the hub.

    Attributes:
        draw: draws image i and returns its frame; runs on the hub's thread.
        count: number of images.
        finished: takes the frames in order, or None and the error.
        deadline_s: on the clock of `time.monotonic`; None for none.
        expected_calls: denoiser calls of each image, as well as is known.
    """

    draw: Callable[[int], Any]
    count: int
    finished: Callable[[Frames | None, BaseException | None], None]
    deadline_s: float | None = None
    expected_calls: int = 1
    _frames: dict[int, Any] = field(default_factory=dict, init=False, repr=False)
    _ended: int = field(default=0, init=False)
    _error: BaseException | None = field(default=None, init=False)
    _cancelled: bool = field(default=False, init=False)

    def images(self) -> list[PipelineRun]:
        """The work for the hub; submit all of it."""
        return [self._image(index) for index in range(self.count)]

    def cancel(self) -> None:
        """Leave the hub before the next forward. Safe from any thread."""
        self._cancelled = True

    def _image(self, index: int) -> PipelineRun:
        def done(frame: Any, error: BaseException | None) -> None:
            self._run_ended(index, frame, error)

        return PipelineRun(lambda: self.draw(index), done, self._stop, self.expected_calls)

    def _stop(self) -> Exception | None:
        if self._error is not None or self._cancelled:
            return Cancelled("the client cancelled the request")
        if self.deadline_s is not None and time.monotonic() > self.deadline_s:
            return DeadlineExceeded("timeout_ms passed before the image was finished")
        return None

    def _run_ended(self, index: int, frame: Any, error: BaseException | None) -> None:
        self._ended += 1
        if error is not None:
            self._error = self._error or error
        else:
            self._frames[index] = frame
        if self._ended < self.count:
            return
        # Not kept, for whoever still holds the order: frames are large, and an error's traceback leads to tensors.
        frames, self._frames = self._frames, {}
        first_error, self._error = self._error, None
        if first_error is not None:
            self.finished(None, first_error)
        else:
            self.finished([frames[i] for i in range(self.count)], None)
