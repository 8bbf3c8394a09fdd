"""Triton's refusals as OpenAI's errors."""

from __future__ import annotations

import orjson
import pytest
from tritonclient.utils import InferenceServerException

from imagegen.openai import errors
from imagegen.openai.errors import ApiError, BadRequest, Failed, shown, to_api_error
from imagegen_client.errors import from_triton as client_error


def all_kinds(kind: type[ApiError] = ApiError) -> list[type[ApiError]]:
    return [kind, *(found for below in kind.__subclasses__() for found in all_kinds(below))]


@pytest.mark.parametrize(
    ("message", "status", "param", "code"),
    [
        ("invalid_argument: size: 7x7 is not allowed", 400, "size", "invalid_value"),
        ("in ensemble 'x', invalid_argument: n: 11 is outside 1..10", 400, "n", "invalid_value"),
        ("invalid_argument: image: too_large: 17 images; at most 16 are allowed", 400, "image", "invalid_value"),
        ("image_rejected: image[1]: invalid_image: is damaged", 400, "image", "image_rejected"),
        ("image_rejected: mask: fetch_failed: status 404", 400, "mask", "image_rejected"),
        ("image_rejected: image[0]: too_large: is larger than 50000000 bytes", 413, "image", "too_large"),
        ("image_rejected: image[0]: too_large: has 99999x9 pixels; a side is", 413, "image", "too_large"),
        ("deadline_exceeded: timeout_ms passed before the request was started", 408, "timeout_ms", "deadline_exceeded"),
        ("storage_failed: the images could not be stored", 503, None, "storage_failed"),
        ("unavailable: shutting down", 503, None, "unavailable"),
        ("unavailable: overloaded: 256 requests with image URLs are being loaded", 429, None, "rate_limit_exceeded"),
        ("[request id: a] Exceeds maximum queue size", 429, None, "rate_limit_exceeded"),
        ("cancelled: the client cancelled the request", 499, None, "cancelled"),
        ("Request for unknown model: 'diffusion' is not found", 503, None, "unavailable"),
        ("Server not ready", 503, None, "unavailable"),
        ("Stub process 'diffusion_0' is not healthy.", 503, None, "unavailable"),
        ("non_finite: denoise: the model computed values that are not finite", 500, None, "non_finite"),
        ("internal_error: the request failed inside the server", 500, None, "internal_error"),
        ("Segfault at 0xdeadbeef in /opt/tritonserver", 500, None, "internal_error"),
    ],
)
def test_each_has_its_status_and_field(message: str, status: int, param: str | None, code: str) -> None:
    grpc_status = "StatusCode.UNAVAILABLE" if "queue size" in message else None
    error = to_api_error(client_error(InferenceServerException(msg=message, status=grpc_status)))
    assert (error.status, error.param, error.code) == (status, param, code)
    assert "0xdeadbeef" not in str(error)
    assert ("Retry-After" in error.headers) == (status in (429, 503))
    # OpenAI's clients send again what was 408 or 5xx, unless told not to.
    assert (error.headers.get("x-should-retry") == "false") == (status in (408, 499) or code == "non_finite")


def test_references_are_named_as_the_request_has_them() -> None:
    refused = client_error(
        InferenceServerException(msg="image_rejected: reference_image[0]: is damaged; reference_image[2]: is damaged")
    )
    error = to_api_error(refused, "image")
    assert (error.param, str(error)) == ("image", "image[0]: is damaged; image[2]: is damaged")
    assert to_api_error(refused).param == "reference_image"
    mixed = "image_rejected: control_image[0]: is damaged; reference_image[2]: https://a/reference_image: status 404"
    error = to_api_error(client_error(InferenceServerException(msg=mixed)), "images")
    assert error.param == "control_image"
    assert str(error) == "control_image[0]: is damaged; images[2]: https://a/reference_image: status 404"
    other = client_error(InferenceServerException(msg="invalid_argument: prompt: 'reference_image' is too long"))
    assert str(to_api_error(other, "image")) == "prompt: 'reference_image' is too long"


def test_a_server_that_is_not_there_is_503_without_its_address() -> None:
    lost = InferenceServerException(msg="failed to connect to all addresses 10.1.2.3", status="StatusCode.UNAVAILABLE")
    error = to_api_error(client_error(lost))
    assert error.status == 503
    assert "10.1.2.3" not in str(error)


def test_the_body_is_openais() -> None:
    body = BadRequest("n: too many", "n").body()
    assert body == {
        "error": {"message": "n: too many", "type": "invalid_request_error", "param": "n", "code": "invalid_value"}
    }


def test_text_of_clients_is_made_presentable() -> None:
    error = BadRequest("\ud800" * 9999, "\udfff")
    assert len(orjson.dumps(error.body())) < 2000
    assert shown("ä") == "ä"


def test_the_docstring_draws_all_kinds() -> None:
    tree = errors.__doc__ or ""
    for kind in all_kinds()[1:]:
        assert f"{kind.__name__} " in tree
        assert kind is Failed or str(kind.status) in tree
