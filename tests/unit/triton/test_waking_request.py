"""The empty request that wakes Triton's queue is told apart from all others."""

from __future__ import annotations

import pytest

from imagegen.triton.waking_request import is_waking_request, send_waking_request
from tests.unit.triton.python_backend import InferenceRequest, InferenceResponse, Request, TritonError, prompt


def test_what_is_sent_is_recognised(backend: type[InferenceRequest]) -> None:
    send_waking_request("diffusion")
    (request,) = backend.sent
    assert request.model_name == "diffusion"
    assert is_waking_request(request)


@pytest.mark.parametrize("request_", [Request(), Request("mine"), Request("imagegen-wake", prompt=prompt())])
def test_a_request_of_a_client_is_none(request_: Request) -> None:
    assert not is_waking_request(request_)


def test_a_refused_one_raises(backend: type[InferenceRequest]) -> None:
    backend.respond = staticmethod(lambda request: InferenceResponse(error=TritonError("queue full")))
    with pytest.raises(RuntimeError, match="queue full"):
        send_waking_request("diffusion")
