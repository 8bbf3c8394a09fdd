"""The empty request that a model sends itself to wake Triton's queue; see `imagegen.triton.queue_waker`."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

_REQUEST_ID = "imagegen-wake"


def send_waking_request(model_name: str) -> None:
    """Send a model of this server a request without inputs and wait for its response.

    Raises:
        RuntimeError: it was refused.
    """
    request = pb_utils.InferenceRequest(
        model_name=model_name, request_id=_REQUEST_ID, inputs=[], requested_output_names=[]
    )
    response = request.exec()
    if response.has_error():
        raise RuntimeError(response.error().message())


def is_waking_request(request: Any) -> bool:
    """Whether `send_waking_request` sent it."""
    return bool(request.request_id() == _REQUEST_ID and not request.inputs())
