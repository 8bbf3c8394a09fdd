"""Calls from one model of this server to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from imagegen.api.errors import ImageGenError, Unavailable
from imagegen.api.tensors import Arrays
from imagegen.triton.tensors import to_arrays, to_tensors
from imagegen_client import INTERNAL_ERROR, Failure, FailureKind, classify

_TRITON_CODES = ("INVALID_ARG", "CANCELLED", "UNAVAILABLE")  # those that say more than that something failed


class CalledModelError(ImageGenError):
    """An error that another model of this server responded with, passed on under the same code."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.problem if failure.field is None else f"{failure.field}: {failure.problem}")
        self.row = failure.error
        self.code, self.http_status, self.triton_code = self.row.code, self.row.http_status, self.row.triton_code


def call_model(name: str, inputs: Arrays, outputs: Sequence[str], request_id: str) -> Arrays:
    """Have another model of this server handle a request, and wait for it. Safe from any thread.

    Args:
        name: the model, which is not decoupled.
        inputs: by name.
        outputs: the names of those that are wanted.
        request_id: what the other model sees as the request's id.

    Returns:
        the outputs that it gave.

    Raises:
        CalledModelError: it responded with an error that a client may see.
        Unavailable: it is full, or not there now.
        RuntimeError: it responded with another error.
    """
    request = pb_utils.InferenceRequest(
        model_name=name, request_id=request_id, inputs=to_tensors(inputs), requested_output_names=list(outputs)
    )
    response = request.exec()
    if response.has_error():
        raise _error_to_raise(name, response.error())
    # Copied, for the memory goes with the response; what holds objects is a copy already.
    arrays = to_arrays(response.output_tensors())
    return {name: array if array.dtype == np.object_ else array.copy() for name, array in arrays.items()}


def _error_to_raise(model_name: str, error: Any) -> Exception:
    """What to raise for an error of a model; Triton's own ones, of a full queue say, get one of our codes."""
    status = next((name for name in _TRITON_CODES if getattr(pb_utils.TritonError, name) == error.code()), None)
    message = error.message()
    failure = classify(message, status)
    if failure.problem != message:  # it has one of our codes
        return CalledModelError(failure)
    if failure.kind is FailureKind.QUEUE_FULL:  # without a status in a call between models (seen on 24.10)
        return Unavailable(f"{model_name} is full: exceeds maximum queue size")
    if failure.kind is FailureKind.NOT_READY:
        return Unavailable(f"{model_name} is not there now; try again later")
    if failure.error is not INTERNAL_ERROR:
        return CalledModelError(failure)
    return RuntimeError(f"{model_name} failed: {message}")
