"""A stream's client for tests: its request, and what it was sent."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from imagegen.api.events import Preview, Progress

Arrays = dict[str, npt.NDArray[Any]]


def text(value: str) -> npt.NDArray[Any]:
    """One text as a BYTES array of shape [1]."""
    return np.array([value.encode()], dtype=np.object_)


def preview(step: int) -> Preview:
    """The preview of a step of 3."""
    return Preview(Progress(step, 3), step - 1, 0, (16, 16), np.zeros((2, 2, 3), np.uint8))


class StreamClient:
    """A request, and what it was sent."""

    def __init__(self, request_id: str = "", **values: Any) -> None:
        self.request_id = request_id
        self.disconnected = False
        self.parts: list[dict[str, Any]] = []
        self.errors: list[BaseException] = []
        self.finished = 0
        self.requested = {"event", "step"}
        self._received = threading.Condition()
        self._values = {"prompt": "x", **values}

    def arrays(self) -> Arrays:
        return {
            name: text(value) if isinstance(value, str) else np.array([value], dtype=np.int32)
            for name, value in self._values.items()
        }

    def wants(self, output: str) -> bool:
        return output in self.requested

    def is_cancelled(self) -> bool:
        return self.disconnected

    def send_part(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        with self._received:
            self.parts.append({name: array.tolist()[0] for name, array in arrays.items()})
            self._received.notify_all()

    def finish(self) -> None:
        self.finished += 1

    def fail(self, error: BaseException) -> None:
        self.errors.append(error)

    def wait_for_step(self, step: int, timeout_s: float) -> bool:
        """Whether a part of this step arrives."""
        with self._received:
            return self._received.wait_for(lambda: any(part["step"] == step for part in self.parts), timeout_s)
