"""Between Triton's python backend and plain modules: arrays in, exactly one answer out.

The only module outside the `model.py` files that imports Triton.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from imagegen.api import errors
from imagegen.api.errors import Cancelled, ImageGenError, InvalidArgument, Unavailable, as_client_error
from imagegen.metrics import Family, Series
from imagegen.triton.drain import OpenRequests
from imagegen.triton.run_folder import enter_run_folder, leave_run_folder

Arrays = dict[str, npt.NDArray[Any]]
Handle = Callable[[Arrays, str], Mapping[str, npt.NDArray[Any]]]
"""Output tensors from input tensors and the request's id, which is empty when the client gave none."""

_SERVER_GONE_POLL_S = 1.0

_log = logging.getLogger(__name__)
_open_requests = OpenRequests()


def start_process() -> Path:
    """To be called first in `initialize`: sends Python's log to the server's log, and ends with the server.

    A server that dies or gives up waiting leaves its model processes behind, with all their GPU memory.

    Returns:
        the run folder of the server.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    threading.Thread(target=_end_with, args=(os.getppid(),), name="end-with-server", daemon=True).start()
    folder = enter_run_folder(os.getppid())
    _open_requests.show(folder)
    return folder


def end_process(folder: Path) -> None:
    """To be called last in `finalize`, with what `start_process` returned."""
    _open_requests.hide()
    leave_run_folder(folder)


def _end_with(server_pid: int) -> None:
    while os.getppid() == server_pid:
        time.sleep(_SERVER_GONE_POLL_S)
    os._exit(1)


class Answer:
    """The one answer that a request is owed; of a decoupled model it may have several parts.

    Whatever ends it first counts, what comes later is ignored. Safe from any thread.
    """

    def __init__(self, request: Any) -> None:
        self.request_id: str = request.request_id()
        self._request = request
        self._sender = request.get_response_sender()
        self._lock = threading.Lock()
        self._open = True
        _open_requests.change(+1)

    def arrays(self) -> Arrays:
        """The inputs that are present, by name; BYTES as object arrays of `bytes`.

        Raises:
            InvalidArgument: the request carries a parameter. All our inputs are tensors; an HTTP client that
                misspells one on /generate would otherwise be ignored in silence.
        """
        for name in json.loads(self._request.parameters() or "{}"):
            raise InvalidArgument(name, "no such input or parameter")
        return {tensor.name(): tensor.as_numpy() for tensor in self._request.inputs()}

    def wants(self, output: str) -> bool:
        """Whether the client asks for an output; of one that names none it is all."""
        return output in self._request.requested_output_names()

    def is_cancelled(self) -> bool:
        """Whether the client has walked away; false once the request is answered."""
        # Triton frees the request with its answer: to ask afterwards crashes the whole server (seen on 24.10).
        with self._lock:
            return self._open and bool(self._sender.is_cancelled())

    def send(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Answer with output tensors."""
        self._send(pb_utils.InferenceResponse(output_tensors=_tensors(arrays)))

    def send_part(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Send output tensors of which more will follow; for decoupled models."""
        response = pb_utils.InferenceResponse(output_tensors=_tensors(arrays))
        with self._lock:
            if self._open:
                self._sender.send(response)

    def finish(self) -> None:
        """Say that everything has been sent; for decoupled models."""
        with self._lock:
            if self._open:
                self._sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
                self._close()

    def fail(self, error: BaseException) -> None:
        """Answer with an error. One that is not made for clients is logged and shown without its detail."""
        shown = as_client_error(error)
        if shown is not error:
            _log.error("request %r failed", self.request_id, exc_info=error)
        try:
            self._send(pb_utils.InferenceResponse(error=_triton_error(shown)))
        except Exception:  # nothing is left to try; it must not end the thread that answers
            _log.exception("request %r could not be answered", self.request_id)

    def _send(self, response: Any) -> None:
        with self._lock:
            if not self._open:
                return
            self._sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            self._close()  # not before: what Triton did not take may still be answered with an error

    def _close(self) -> None:
        self._open = False
        _open_requests.change(-1)


WAKING_REQUEST_ID = "imagegen-wake"


def send_waking_request(model_name: str) -> None:
    """Send a model of this server a request without inputs and wait for its answer."""
    request = pb_utils.InferenceRequest(
        model_name=model_name, request_id=WAKING_REQUEST_ID, inputs=[], requested_output_names=[]
    )
    response = request.exec()
    if response.has_error():
        raise RuntimeError(response.error().message())


def is_waking_request(request: Any) -> bool:
    """Whether `send_waking_request` sent it."""
    return bool(request.request_id() == WAKING_REQUEST_ID and not request.inputs())


class ModelError(ImageGenError):
    """An error that another model of this server answered, to be passed on.

    Args:
        code: one of `imagegen.api.errors`.
        message: the rest of the message.
        triton_code: the name of the matching constant of `pb_utils.TritonError`.
    """

    def __init__(self, code: str, message: str, triton_code: str) -> None:
        super().__init__(message)
        self.code = code
        self.triton_code = triton_code


def call_model(name: str, inputs: Arrays, outputs: Sequence[str], request_id: str) -> Arrays:
    """Have another model of this server handle a request, and wait for it. Safe from any thread.

    Args:
        name: the model, which is not decoupled.
        inputs: by name; BYTES as object arrays of `bytes`.
        outputs: the names of those that are wanted.
        request_id: what the other model sees as the request's id.

    Returns:
        the outputs that it gave.

    Raises:
        ModelError: it answered with an error that a client may see.
        RuntimeError: it answered with another one.
    """
    request = pb_utils.InferenceRequest(
        model_name=name, request_id=request_id, inputs=_tensors(inputs), requested_output_names=list(outputs)
    )
    response = request.exec()
    if response.has_error():
        raise _passed_on(name, response.error())
    # Copied, for the memory goes with the response; what holds objects is a copy already.
    arrays = ((tensor.name(), tensor.as_numpy()) for tensor in response.output_tensors())
    return {name: array if array.dtype == np.object_ else array.copy() for name, array in arrays}


_OUR_CODES = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ImageGenError)}
_QUEUE_FULL = "maximum queue size"  # Triton's words
_GOING = re.compile(
    r"stub process .* is not healthy|stopped accepting new inference requests", re.IGNORECASE
)  # the same
_CODES_FOR_TRITONS = {kind.triton_code: kind.code for kind in (InvalidArgument, Cancelled, Unavailable)}


def _passed_on(model_name: str, error: Any) -> Exception:
    """What to raise for an error that a model answered: Triton's own of a full queue, say, gets one of our codes."""
    code, _, message = error.message().partition(": ")
    known = (name for name in _CODES_FOR_TRITONS if getattr(pb_utils.TritonError, name) == error.code())
    triton_code = next(known, ImageGenError.triton_code)
    if code in _OUR_CODES:
        return ModelError(code, message, triton_code)
    if _QUEUE_FULL in error.message():  # comes with no code of its own from a call between models (seen on 24.10)
        return Unavailable(f"{model_name} is full: exceeds {_QUEUE_FULL}")
    if _GOING.search(error.message()):
        return Unavailable(f"{model_name} is not there now; try again later")
    if triton_code in _CODES_FOR_TRITONS:
        return ModelError(_CODES_FOR_TRITONS[triton_code], error.message(), triton_code)
    return RuntimeError(f"{model_name} answered: {error.message()}")


def _tensors(arrays: Mapping[str, npt.NDArray[Any]]) -> list[Any]:
    return [pb_utils.Tensor(name, array) for name, array in arrays.items()]


def _triton_error(error: ImageGenError) -> Any:
    return pb_utils.TritonError(str(error), getattr(pb_utils.TritonError, error.triton_code))


def answer_with(answer: Answer, handle: Handle) -> None:
    """Handle a request and answer it, whatever happens."""
    try:
        answer.send(handle(answer.arrays(), answer.request_id))
    except BaseException as error:
        answer.fail(error)


class RequestThreads:
    """Handles each request on a thread of its own, a bounded number at a time.

    `run` blocks while every thread is busy, so that the line of waiting requests is Triton's own.

    Args:
        threads: how many.
        serve: handles and answers one request, whatever happens.
    """

    def __init__(self, threads: int, serve: Callable[[Answer], None]) -> None:
        self._serve = serve
        self._free = threading.BoundedSemaphore(threads)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="request")

    def run(self, request: Any) -> None:
        """Have `request` handled and answered."""
        answer = Answer(request)
        self._free.acquire()
        self._pool.submit(self._answer, answer)

    def close(self) -> None:
        """Finish what was begun."""
        self._pool.shutdown(wait=True)

    def _answer(self, answer: Answer) -> None:
        try:
            self._serve(answer)
        finally:
            self._free.release()


def text_tensor(text: str) -> npt.NDArray[np.object_]:
    """One text as a BYTES tensor of shape [1]."""
    return np.array([text.encode()], dtype=np.object_)


class TritonSeries:
    """Makes series of Triton's custom metrics, for `imagegen.metrics.Metrics`.

    Args:
        labels: put on every series, to tell instances apart.
    """

    def __init__(self, **labels: str) -> None:
        self._labels = labels
        self._families: dict[str, Any] = {}

    def __call__(self, family: Family, labels: dict[str, str]) -> Series:
        """A new series of `family`."""
        if family.name not in self._families:
            kind = getattr(pb_utils.MetricFamily, family.kind.upper())
            self._families[family.name] = pb_utils.MetricFamily(family.name, family.meaning, kind)
        buckets = {"buckets": list(family.buckets)} if family.kind == "histogram" else {}
        series: Series = self._families[family.name].Metric(labels=self._labels | labels, **buckets)
        return series
