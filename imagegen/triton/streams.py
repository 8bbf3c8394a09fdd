"""Streams: a request's way through the models that do the work, and what its client is told meanwhile.

a thread each      preprocess -> diffusion -> postprocess -> completed
listener's thread  events of diffusion -> progress, preview
watch's thread     a client that has gone -> cancel to diffusion; a long wait -> progress 0 of 0
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from imagegen.api import tensors
from imagegen.api.errors import Cancelled
from imagegen.api.events import Ended, Event, Preview, Progress
from imagegen.api.request import OutputChoice, parse_output_choice, parse_partial_images
from imagegen.images.output.preview_image import preview_image
from imagegen.triton.side_channel import Canceller, EventListener

Arrays = dict[str, npt.NDArray[Any]]

_POLL_S = 0.02  # about one step of a fast model
_SIGN_OF_LIFE_S = 1.0
_LAST_EVENTS_S = 2.0

_OUTPUTS = tuple(tensor.name for tensor in tensors.OUTPUTS)
_PREPROCESSED = ("pixels", "mask_pixels", "preprocess_report")
_DRAWN = ("frames", "used_seed", "diffusion_report")
_NOT_FOR_DIFFUSION = {"image", "mask", "output_format", "output_compression", "response_format", "user"}
_FOR_POSTPROCESS = {
    "prompt",
    "negative_prompt",
    "output_format",
    "output_compression",
    "response_format",
    "user",
}

_log = logging.getLogger(__name__)


class StreamPort(Protocol):
    """What a stream needs of its request: its inputs, whether it is still wanted, and ways to answer it.

    Attributes:
        request_id: as the client sent it; may be empty.
    """

    request_id: str

    def arrays(self) -> Arrays:
        """The inputs that are present, by name."""

    def wants(self, output: str) -> bool:
        """Whether the client asks for an output."""

    def is_cancelled(self) -> bool:
        """Whether the client has walked away."""

    def send_part(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Send output tensors of which more will follow."""

    def finish(self) -> None:
        """Say that everything has been sent."""

    def fail(self, error: BaseException) -> None:
        """End with an error."""


class CallModel(Protocol):
    """Has another model of this server handle a request; see `imagegen.triton.call_model`."""

    def __call__(self, name: str, inputs: Arrays, outputs: Sequence[str], request_id: str) -> Arrays:
        """The outputs that the model gave; raises its error."""


class Streams:
    """Serves streams, from any thread.

    Args:
        folder: the run folder of the server.
        call: calls the models that do the work.
    """

    def __init__(self, folder: Path, call: CallModel) -> None:
        self._call = call
        self._canceller = Canceller(folder)
        self._lock = threading.Lock()
        self._drawn: dict[str, _Stream] = {}  # by stream id, while the diffusion model has them
        self._listener = EventListener(folder, self._deliver)
        self._closed = threading.Event()
        self._watch = threading.Thread(target=self._run, name="stream-watch", daemon=True)
        self._watch.start()

    def serve(self, port: StreamPort) -> None:
        """Serve one stream to its end. It is answered whatever happens."""
        try:
            self._serve(port)
        except BaseException as error:
            port.fail(error)

    def close(self) -> None:
        """To be called when no stream is served any more."""
        self._closed.set()
        self._watch.join()
        self._listener.close()
        self._canceller.close()

    def _serve(self, port: StreamPort) -> None:
        arrays = port.arrays()
        partial_images = parse_partial_images(arrays)
        arrays.pop("partial_images", None)
        request_id = port.request_id or uuid.uuid4().hex
        preprocessed = self._call("image_preprocess", arrays, _PREPROCESSED, request_id)
        stream = _Stream(port, parse_output_choice(arrays, has_store=True))
        inputs = {name: array for name, array in arrays.items() if name not in _NOT_FOR_DIFFUSION} | preprocessed
        with self._following(stream) as stream_id:
            if port.is_cancelled():
                raise Cancelled("the client cancelled the request")
            inputs["stream_id"] = np.array([stream_id.encode()], dtype=np.object_)
            inputs["partial_images"] = np.array([partial_images], dtype=np.int32)
            drawn = self._call("diffusion", inputs, _DRAWN, request_id)
            stream.ended.wait(_LAST_EVENTS_S)  # they may be a little slower than the answer
        drawn["frame_seed"] = drawn.pop("used_seed")
        drawn |= {name: array for name, array in arrays.items() if name in _FOR_POSTPROCESS}
        stream.complete(self._call("image_postprocess", drawn, _OUTPUTS, request_id))

    @contextmanager
    def _following(self, stream: _Stream) -> Iterator[str]:
        """Let the stream have its events, and cancel its drawing when its client goes; the stream id to draw under."""
        stream_id = self._listener.new_stream_id()
        with self._lock:
            self._drawn[stream_id] = stream
        try:
            yield stream_id
        finally:
            with self._lock:
                del self._drawn[stream_id]

    def _deliver(self, stream_id: str, event: Event) -> None:
        stream = self._drawn.get(stream_id)
        if stream is not None:
            stream.take(event)

    def _run(self) -> None:
        while not self._closed.wait(_POLL_S):
            with self._lock:
                drawn = list(self._drawn.items())
            for stream_id, stream in drawn:
                try:
                    if stream.has_just_gone():
                        self._canceller.cancel(stream_id)
                    else:
                        stream.show_life()
                except Exception:  # one stream must not end the watch of all
                    _log.exception("a stream could not be watched")
            drawn.clear()  # else the last streams would be kept until others come


class _Stream:
    """One stream while the diffusion model has its request."""

    def __init__(self, port: StreamPort, choice: OutputChoice) -> None:
        self.ended = threading.Event()
        self._port = port
        self._choice = choice
        self._progress = Progress(0, 0)
        self._heard_s = time.monotonic()
        self._gone = False
        # A client that does not want steps is spared a message for each: every one wakes it, Triton and us.
        self._wants_progress = port.wants("step")

    def take(self, event: Event) -> None:
        """Tell the client of an event."""
        if isinstance(event, Ended):
            self.ended.set()
        elif isinstance(event, Progress):
            self._progress = event
            self._heard_s = time.monotonic()
            if self._wants_progress:
                self._port.send_part(_event("progress", event))
        else:
            self._port.send_part(_event("preview", event.progress) | _preview(event, self._choice))

    def has_just_gone(self) -> bool:
        """Whether the client has walked away; true once."""
        if self._gone:
            return False
        self._gone = self._port.is_cancelled()
        return self._gone

    def show_life(self) -> None:
        """Repeat the progress to a client that has not heard for long.

        One of HTTP that has gone is only noticed by Triton when something is sent to it.
        """
        if self._wants_progress and not self._gone and time.monotonic() - self._heard_s > _SIGN_OF_LIFE_S:
            self._heard_s = time.monotonic()
            self._port.send_part(_event("progress", self._progress))

    def complete(self, outputs: Arrays) -> None:
        """Hand over the images."""
        total_steps = self._progress.total_steps
        self._port.send_part(_event("completed", Progress(total_steps, total_steps)) | outputs)
        self._port.finish()


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
