"""Streams: a request's way through the models that do the work, and what its client is sent meanwhile.

a thread each      preprocess -> diffusion -> postprocess -> completed
listener's thread  events of diffusion -> progress, preview
watch's thread     a client that has disconnected -> cancel to diffusion; a long wait -> keepalive, progress 0 of 0
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from imagegen.api.errors import Cancelled
from imagegen.api.events import Event
from imagegen.api.request import parse_output_choice, parse_partial_images
from imagegen.api.tensors import (
    DIFFUSION_INPUTS,
    DIFFUSION_OUTPUTS,
    OUTPUT_NAMES,
    POSTPROCESS_INPUTS,
    PREPROCESS_OUTPUTS,
    Arrays,
)
from imagegen.triton.commands import Commander
from imagegen.triton.side_channel import EventListener
from imagegen.triton.stream_subscription import StreamRequest, StreamSubscription

_POLL_S = 0.02  # about one step of a fast model
_LAST_EVENTS_S = 2.0

_LOGGER = logging.getLogger(__name__)


class CallModel(Protocol):
    """Has another model of this server handle a request; see `imagegen.triton.model_call.call_model`."""

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
        self._commander = Commander(folder)
        self._lock = threading.Lock()
        self._subscriptions: dict[str, StreamSubscription] = {}  # by stream id, while diffusion has their requests
        self._listener = EventListener(folder, self._deliver)
        self._closed = threading.Event()
        self._watch = threading.Thread(target=self._watch_clients, name="stream-watch", daemon=True)
        self._watch.start()

    def serve(self, request: StreamRequest) -> None:
        """Serve one stream to its end. It ends with images or an error, whatever happens."""
        try:
            self._serve(request)
        except BaseException as error:
            request.fail(error)

    def close(self) -> None:
        """To be called when no stream is served any more."""
        self._closed.set()
        self._watch.join()
        self._listener.close()
        self._commander.close()

    def _serve(self, request: StreamRequest) -> None:
        arrays = request.arrays()
        partial_images = parse_partial_images(arrays)
        arrays.pop("partial_images", None)
        request_id = request.request_id or uuid.uuid4().hex
        preprocessed = self._call("image_preprocess", arrays, PREPROCESS_OUTPUTS, request_id)
        subscription = StreamSubscription(request, parse_output_choice(arrays, has_store=True))
        inputs = _chosen(arrays, DIFFUSION_INPUTS) | preprocessed
        with self._subscribed(subscription) as stream_id:
            if request.is_cancelled():
                raise Cancelled("the client cancelled the request")
            inputs["stream_id"] = np.array([stream_id.encode()], dtype=np.object_)
            inputs["partial_images"] = np.array([partial_images], dtype=np.int32)
            generated = self._call("diffusion", inputs, DIFFUSION_OUTPUTS, request_id)
            subscription.ended.wait(_LAST_EVENTS_S)  # they may be a little slower than the response
        generated["frame_seed"] = generated.pop("used_seed")
        generated |= _chosen(arrays, POSTPROCESS_INPUTS) | _chosen(preprocessed, ("control_pixels",))
        subscription.complete(self._call("image_postprocess", generated, OUTPUT_NAMES, request_id))

    @contextmanager
    def _subscribed(self, subscription: StreamSubscription) -> Iterator[str]:
        """Let it have its events, and cancel its request when its client disconnects; the stream id of the request."""
        stream_id = self._listener.new_stream_id()
        with self._lock:
            self._subscriptions[stream_id] = subscription
        try:
            yield stream_id
        finally:
            with self._lock:
                del self._subscriptions[stream_id]

    def _deliver(self, stream_id: str, event: Event) -> None:
        subscription = self._subscriptions.get(stream_id)
        if subscription is not None:
            subscription.deliver(event)

    def _watch_clients(self) -> None:
        while not self._closed.wait(_POLL_S):
            with self._lock:
                subscriptions = list(self._subscriptions.items())
            for stream_id, subscription in subscriptions:
                try:
                    if subscription.has_just_disconnected():
                        self._commander.cancel(stream_id)
                    else:
                        subscription.keepalive()
                except Exception:  # one stream must not end the watch of all
                    _LOGGER.exception("a stream could not be watched")
            subscriptions.clear()  # else the last streams would be kept until others come


def _chosen(arrays: Arrays, names: Sequence[str]) -> Arrays:
    return {name: array for name, array in arrays.items() if name in names}
