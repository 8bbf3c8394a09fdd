"""One table of errors, and one place that understands the words of Triton and gRPC."""

from __future__ import annotations

import subprocess
import sys

import pytest

import imagegen_client
from imagegen_client import (
    CANCELLED,
    DEADLINE_EXCEEDED,
    ERROR_CODES,
    IMAGE_REJECTED,
    INTERNAL_ERROR,
    INVALID_ARGUMENT,
    UNAVAILABLE,
    ErrorCode,
    Failure,
    FailureKind,
    classify,
)

NORMAL, QUEUE_FULL, NOT_READY, UNREACHABLE, IMAGE_TOO_LARGE, INTERNALS = FailureKind


@pytest.mark.parametrize("row", ERROR_CODES.values(), ids=lambda row: row.code)
@pytest.mark.parametrize("prefix", ["", "in ensemble 'image_generation', ", "[request id: 7] Failed: "])
def test_a_code_is_found_whatever_triton_puts_before(row: ErrorCode, prefix: str) -> None:
    failure = classify(f"{prefix}{row.code}: the reason", None)
    assert failure == Failure(row, "the reason", None, NORMAL)


def test_rows_differ_in_their_codes_and_each_has_a_message() -> None:
    assert all(code == row.code for code, row in ERROR_CODES.items())
    assert all(row.message for row in ERROR_CODES.values())


@pytest.mark.parametrize(
    ("message", "field", "problem", "kind"),
    [
        ("invalid_argument: size: 7x7 is not allowed", "size", "7x7 is not allowed", NORMAL),
        ("image_rejected: image[1]: is damaged", "image[1]", "is damaged", NORMAL),
        (
            "image_rejected: image[0]: too_large: is larger than 9 bytes",
            "image[0]",
            "too_large: is larger than 9 bytes",
            IMAGE_TOO_LARGE,
        ),
        ("image_rejected: mask: too_large: has 9x9 pixels", "mask", "too_large: has 9x9 pixels", IMAGE_TOO_LARGE),
        ("invalid_argument: image: too_large: 17 images", "image", "too_large: 17 images", NORMAL),
        ("invalid_argument: no field at all", None, "no field at all", NORMAL),
        ("unavailable: size: not a field here", None, "size: not a field here", NORMAL),
        (
            "unavailable: overloaded: 256 requests are being loaded",
            None,
            "overloaded: 256 requests are being loaded",
            QUEUE_FULL,
        ),
        (
            "unavailable: diffusion is full: exceeds maximum queue size",
            None,
            "diffusion is full: exceeds maximum queue size",
            QUEUE_FULL,
        ),
        ("unavailable: model 'x' has no instance", None, "model 'x' has no instance", INTERNALS),
    ],
)
def test_a_coded_message_is_taken_apart(message: str, field: str | None, problem: str, kind: FailureKind) -> None:
    failure = classify(message, "StatusCode.INTERNAL")
    assert (failure.field, failure.problem, failure.kind) == (field, problem, kind)


@pytest.mark.parametrize(
    ("message", "status", "error", "kind"),
    [
        ("unexpected inference input 'colour'", "StatusCode.INVALID_ARGUMENT", INVALID_ARGUMENT, NORMAL),
        ("unexpected inference input 'colour'", "400", INVALID_ARGUMENT, NORMAL),
        ("unexpected inference input 'colour'", "INVALID_ARG", INVALID_ARGUMENT, NORMAL),
        ("Locally cancelled", "StatusCode.CANCELLED", CANCELLED, NORMAL),
        ("Deadline Exceeded", "StatusCode.DEADLINE_EXCEEDED", DEADLINE_EXCEEDED, NORMAL),
        ("Exceeds maximum queue size", "StatusCode.UNAVAILABLE", UNAVAILABLE, QUEUE_FULL),
        ("failed to connect to all addresses", "StatusCode.UNAVAILABLE", UNAVAILABLE, UNREACHABLE),
        ("failed to connect to all addresses", "503", UNAVAILABLE, NORMAL),
        ("rpc broke", "StatusCode.UNAVAILABLE", UNAVAILABLE, INTERNALS),
        ("too_large: is larger than", "400", INVALID_ARGUMENT, NORMAL),
        ("Segfault at 0xdeadbeef", "StatusCode.INTERNAL", INTERNAL_ERROR, NORMAL),
        ("Segfault at 0xdeadbeef", None, INTERNAL_ERROR, NORMAL),
    ],
)
def test_without_a_code_the_words_decide_and_then_the_status(
    message: str, status: str | None, error: ErrorCode, kind: FailureKind
) -> None:
    assert classify(message, status) == Failure(error, message, None, kind)


# Triton's words by what they mean, as 24.10 and the 26.09 line have them; before them may stand an ensemble's name or a
# request's id.
SAID_BY_TRITON = {
    "Exceeds maximum queue size": (UNAVAILABLE, QUEUE_FULL),
    "Request timeout expired": (UNAVAILABLE, NORMAL),
    "Server not ready": (UNAVAILABLE, NOT_READY),
    "Request for unknown model: 'x' is not found": (UNAVAILABLE, NOT_READY),
    "Request for unknown model: 'x' has no available versions": (UNAVAILABLE, NOT_READY),
    "Model 'x' is not ready": (UNAVAILABLE, NOT_READY),
    "Stub process 'diffusion_0_0' is not healthy.": (UNAVAILABLE, NOT_READY),
    "Server is stopping, scheduler for model has stopped accepting new inference requests": (UNAVAILABLE, NOT_READY),
}


@pytest.mark.parametrize("said", SAID_BY_TRITON)
@pytest.mark.parametrize("prefix", ["", "in ensemble 'image_generation', ", "[request id: 7] "])
@pytest.mark.parametrize(
    "status",
    [
        *("StatusCode.UNAVAILABLE", "503", "UNAVAILABLE"),  # at the door
        *("StatusCode.INTERNAL", "500", "INTERNAL"),  # in a call between models, on both releases
        *(None, "StatusCode.NOT_FOUND", "StatusCode.UNKNOWN", "UNKNOWN"),  # in a stream; of another release, perhaps
    ],
)
def test_the_same_words_mean_the_same_whatever_status_a_release_gives_them(
    said: str, prefix: str, status: str | None
) -> None:
    error, kind = SAID_BY_TRITON[said]
    assert classify(prefix + said, status) == Failure(error, prefix + said, None, kind)


@pytest.mark.parametrize("status", ["StatusCode.INVALID_ARGUMENT", "400", "INVALID_ARG"])
@pytest.mark.parametrize(
    "said",
    [
        "Request JSON size of 70000000 bytes exceeds the maximum allowed value of 64000000 bytes. Use"
        " --http-max-input-size to increase the limit.",
        "request output 'metadata' already requested",
        "expected 1 inputs but got 2 inputs for model 'not ready'",
        "unexpected shape for input 'n' for model 'image_generation'. Expected [1], got [2].",
    ],
)
def test_a_request_that_is_wrong_to_triton_is_so_whatever_its_words(said: str, status: str) -> None:
    assert classify(said, status) == Failure(INVALID_ARGUMENT, said, None, NORMAL)


def test_rejections_are_invalid_arguments_to_triton() -> None:
    assert IMAGE_REJECTED.grpc_status == INVALID_ARGUMENT.grpc_status


def test_every_public_name_is_there_and_others_are_not() -> None:
    assert all(getattr(imagegen_client, name) is not None for name in imagegen_client.__all__)
    assert set(imagegen_client.__all__) <= set(dir(imagegen_client))
    with pytest.raises(AttributeError, match="no_such_name"):
        imagegen_client.no_such_name  # noqa: B018


def test_the_table_is_there_without_libraries_for_networks() -> None:
    program = "import sys; from imagegen_client import classify; print(*sorted(sys.modules))"
    loaded = subprocess.check_output([sys.executable, "-c", program], text=True, timeout=60).split()
    assert "imagegen_client.error_codes" in loaded
    assert not {"grpc", "gevent", "aiohttp", "tritonclient", "numpy"} & set(loaded)
