"""A request of Triton and the one response that it is owed."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from imagegen.api.errors import ImageGenError, InvalidArgument, as_client_error
from imagegen.api.tensors import Arrays
from imagegen.triton.process import OPEN_REQUESTS
from imagegen.triton.tensors import to_arrays, to_tensors

Handle = Callable[[Arrays, str], Mapping[str, npt.NDArray[Any]]]
"""Output arrays from input arrays and the request's id, which is empty when the client gave none."""

_LOGGER = logging.getLogger(__name__)


class TritonRequest:
    """One request and its response, which for a decoupled model may have several parts.

    Whatever ends the response first counts, what comes later is ignored. Safe from any thread.

    Args:
        request: Triton's request, as `execute` got it.

    Attributes:
        request_id: as the client sent it; may be empty.
    """

    def __init__(self, request: Any) -> None:
        self.request_id: str = request.request_id()
        self._request = request
        self._sender = request.get_response_sender()
        self._lock = threading.Lock()
        self._open = True
        OPEN_REQUESTS.change(+1)

    def arrays(self) -> Arrays:
        """The inputs that are present, by name.

        Raises:
            InvalidArgument: the request carries a parameter. All our inputs are tensors; an HTTP client that
                misspells one on /generate would otherwise be ignored in silence.
        """
        for name in json.loads(self._request.parameters() or "{}"):
            raise InvalidArgument(name, "no such input or parameter")
        return to_arrays(self._request.inputs())

    def wants(self, output: str) -> bool:
        """Whether the client asks for an output; a client that names none asks for all."""
        return output in self._request.requested_output_names()

    def is_cancelled(self) -> bool:
        """Whether the client has cancelled or disconnected; false once the response is complete."""
        # Triton frees the request with its response: to ask afterwards crashes the whole server (seen on 24.10).
        with self._lock:
            return self._open and bool(self._sender.is_cancelled())

    def send(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Respond with output arrays."""
        self._send(pb_utils.InferenceResponse(output_tensors=to_tensors(arrays)))

    def send_part(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Send output arrays of which more will follow; for decoupled models."""
        response = pb_utils.InferenceResponse(output_tensors=to_tensors(arrays))
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
        """Respond with an error. One that is not made for clients is logged and shown without its detail."""
        shown = as_client_error(error)
        if shown is not error:
            _LOGGER.error("request %r failed", self.request_id, exc_info=error)
        try:
            self._send(pb_utils.InferenceResponse(error=_triton_error(shown)))
        except Exception:  # nothing is left to try; it must not end the thread that responds
            _LOGGER.exception("request %r got no response", self.request_id)

    def respond(self, handle: Handle) -> None:
        """Handle the request and respond, whatever happens."""
        try:
            self.send(handle(self.arrays(), self.request_id))
        except BaseException as error:
            self.fail(error)

    def _send(self, response: Any) -> None:
        with self._lock:
            if not self._open:
                return
            self._sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            self._close()  # not before: where Triton did not take it, an error may still be sent

    def _close(self) -> None:
        self._open = False
        OPEN_REQUESTS.change(-1)


def _triton_error(error: ImageGenError) -> Any:
    return pb_utils.TritonError(str(error), getattr(pb_utils.TritonError, error.triton_code))
