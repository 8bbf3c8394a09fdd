"""The way of a request into the engine: its arrays are parsed, and it waits for a slot.

execute (Triton's thread)   arrays -> ImageRequest -> slot (blocks, so the line is Triton's own queue)
waiting threads             the same for the first of those that come while there is no engine
response thread             result or error -> `diffusion_response`
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import numpy.typing as npt

from imagegen.api.errors import InvalidArgument
from imagegen.api.events import Event
from imagegen.api.input_images import take_input_images
from imagegen.api.reports import PreprocessReport
from imagegen.api.request import parse_partial_images, parse_request
from imagegen.api.tensors import Arrays
from imagegen.engine.cancellation import CancelToken
from imagegen.engine.image_generator import ImageGenerator
from imagegen.triton.diffusion_response import ResponsePort, respond
from imagegen.triton.side_channel import is_stream_id


class DiffusionRequest(ResponsePort, Protocol):
    """What admission needs of a request: `imagegen.triton.triton_request.TritonRequest`, or a test's stand-in.

    Attributes:
        request_id: as the client sent it; may be empty.
    """

    request_id: str

    def arrays(self) -> Arrays:
        """The inputs that are present, by name."""

    def is_cancelled(self) -> bool:
        """Whether the client has cancelled or disconnected."""


class Admission:
    """Takes the requests of the `diffusion` model.

    Args:
        engine: generates them.
        publish: sends an event to whoever made a stream id; called on the device thread.
    """

    def __init__(self, engine: ImageGenerator[Any], publish: Callable[[str, Event], None]) -> None:
        self._engine = engine
        self._publish = publish
        slots = engine.settings.max_active_requests
        self._free = threading.Semaphore(slots)
        self._waiting = ThreadPoolExecutor(slots, thread_name_prefix="waiting")

    def submit(self, request: DiffusionRequest) -> None:
        """Take a request; blocks while no slot is free. It gets exactly one response, from any thread.

        While there is no engine it does not block for as many as will start together once there is one. Else the first
        of them would keep those behind it in Triton's queue, where no deadline and no cancel reaches them.
        """
        try:
            taken = self._engine_request(request)
        except BaseException as error:  # every request gets a response, whatever happens
            request.fail(error)
            return
        if self._engine.line.slots.paused and self._free.acquire(blocking=False):
            try:
                self._waiting.submit(self._wait, request, taken)
                return
            except RuntimeError:  # no thread to be had
                self._free.release()
        self._admit(request, taken)

    def close(self) -> None:
        """End the threads; the engine is closed, and refuses all that wait."""
        self._waiting.shutdown(wait=True)

    def _wait(self, request: DiffusionRequest, taken: Any) -> None:
        try:
            self._admit(request, taken)
        finally:
            self._free.release()

    def _admit(self, request: DiffusionRequest, taken: Any) -> None:
        try:
            self._engine.submit(taken)
        except BaseException as error:
            request.fail(error)

    def _engine_request(self, request: DiffusionRequest) -> Any:
        engine, now_s = self._engine, time.monotonic()
        arrays = request.arrays()
        stream_id, previews = _read_stream(arrays.pop("stream_id", None), arrays.pop("partial_images", None))
        upstream = _read_report(arrays.pop("preprocess_report", None), now_s)
        images = take_input_images(arrays)
        return engine.new_request(
            parse_request(arrays, engine.settings, granularity_px=engine.granularity_px, given=images),
            images,
            previews,
            partial(respond, request, upstream),
            token=CancelToken(frozenset({request.request_id, stream_id} - {""}), request.is_cancelled),
            publish=partial(self._publish, stream_id) if stream_id else None,
            arrived_s=min(now_s, upstream.finished_s),
            entered_s=min(now_s, upstream.started_s),
        )


def _read_report(tensor: npt.NDArray[Any] | None, now_s: float) -> PreprocessReport:
    """What `image_preprocess` reports of the request.

    Without a report the request came now: whoever calls this model directly cannot tell how long Triton's queue took.

    Raises:
        InvalidArgument: the tensor is no report.
    """
    if tensor is None:
        return PreprocessReport(started_s=now_s, finished_s=now_s)
    try:
        return PreprocessReport.from_json(tensor[0])
    except (ValueError, TypeError, IndexError):
        raise InvalidArgument("preprocess_report", "not what image_preprocess writes; leave it out") from None


def _read_stream(stream_id: npt.NDArray[Any] | None, partial_images: npt.NDArray[Any] | None) -> tuple[str, int]:
    """Where `image_generation_stream` wants events, empty for nowhere, and how many previews of each image.

    Raises:
        InvalidArgument: `stream_id` is none, or `partial_images` out of range.
    """
    if stream_id is None:
        return "", 0
    text = bytes(stream_id.flat[0]).decode(errors="replace") if stream_id.size else ""
    if not is_stream_id(text):
        raise InvalidArgument("stream_id", "not what image_generation_stream writes; leave it out")
    return text, parse_partial_images({} if partial_images is None else {"partial_images": partial_images})
