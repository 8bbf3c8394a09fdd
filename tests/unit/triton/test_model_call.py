"""A call to another model gives its outputs, and its errors under our codes."""

from __future__ import annotations

import numpy as np
import pytest

from imagegen.api.errors import ImageGenError
from imagegen.triton.model_call import call_model
from tests.unit.triton.python_backend import InferenceRequest, InferenceResponse, Tensor, TritonError, prompt


def test_inputs_and_names_are_passed_and_outputs_are_copies(backend: type[InferenceRequest]) -> None:
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    response = InferenceResponse([Tensor("frames", frames), Tensor("diffusion_report", prompt("{}"))])
    backend.respond = staticmethod(lambda request: response)
    outputs = call_model("diffusion", {"prompt": prompt()}, ("frames", "diffusion_report"), "mine")
    (request,) = backend.sent
    assert (request.model_name, request.request_id()) == ("diffusion", "mine")
    assert request.outputs == ["frames", "diffusion_report"]
    assert [tensor.name() for tensor in request.inputs()] == ["prompt"]
    frames += 1
    assert outputs["frames"].max() == 0
    assert outputs["diffusion_report"].tolist() == [b"{}"]


@pytest.mark.parametrize(
    ("message", "code", "passed_on"),
    [
        ("invalid_argument: n: 11 is outside 1..10", TritonError.INVALID_ARG, None),
        ("image_rejected: image[0]: too_large: is larger than 9 bytes", TritonError.INVALID_ARG, None),
        ("deadline_exceeded: timeout_ms passed before the image was finished", TritonError.UNAVAILABLE, None),
        ("unavailable: the server is shutting down", TritonError.INTERNAL, None),  # 24.10 loses the code
        ("internal_error: the request failed inside the server", TritonError.INTERNAL, None),
        ("unexpected shape for input 'n'", TritonError.INVALID_ARG, "invalid_argument: unexpected shape for input 'n'"),
        ("cancelled by Triton", TritonError.CANCELLED, "cancelled: cancelled by Triton"),
        ("Exceeds maximum queue size", 99, "unavailable: diffusion is full: exceeds maximum queue size"),
        (
            "Stub process 'diffusion_0_0' is not healthy.",
            TritonError.INTERNAL,
            "unavailable: diffusion is not there now; try again later",
        ),
        (
            "scheduler for model has stopped accepting new inference requests",
            TritonError.UNAVAILABLE,
            "unavailable: diffusion is not there now; try again later",
        ),
    ],
)
def test_an_error_for_clients_is_passed_on(
    backend: type[InferenceRequest], message: str, code: int, passed_on: str | None
) -> None:
    backend.respond = staticmethod(lambda request: InferenceResponse(error=TritonError(message, code)))
    with pytest.raises(ImageGenError) as caught:
        call_model("diffusion", {}, (), "")
    assert str(caught.value) == (passed_on or message)
    assert caught.value.code == str(caught.value).partition(":")[0]
    assert caught.value.triton_code == caught.value.row.triton_code


def test_an_error_that_says_nothing_to_clients_is_one_of_ours(backend: type[InferenceRequest]) -> None:
    backend.respond = staticmethod(lambda request: InferenceResponse(error=TritonError("Segfault at 0xdeadbeef")))
    with pytest.raises(RuntimeError, match=r"^diffusion failed: Segfault at 0xdeadbeef$"):
        call_model("diffusion", {}, (), "")
