"""What the server reports becomes the right exception: by its own code first, else by the status."""

from __future__ import annotations

from typing import Any

import pytest
from tritonclient.utils import InferenceServerException

import imagegen.api.errors as server
from imagegen_client import errors
from imagegen_client.error_codes import FailureKind
from imagegen_client.errors import ImageGenerationError, from_triton


def translated(message: str, status: str | None) -> ImageGenerationError:
    return from_triton(InferenceServerException(message, status))


@pytest.mark.parametrize(
    "error",
    [
        server.InvalidArgument("size", "7x7 is not allowed: each side is a multiple of 8"),
        server.ImageRejected("image[1]", "https://example.org: not an image"),
        server.Cancelled("the client went away"),
        server.DeadlineExceeded("timeout_ms: 500 passed"),
        server.Unavailable("shutting down"),
        server.StorageFailed("the images could not be stored"),
        server.NonFinite("decode", "the VAE's weights are damaged"),
        server.InternalError("the server log has the reason"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "in ensemble 'image_generation', ", "[request id: 7] Failed: "])
def test_each_error_of_the_server_has_its_twin_whatever_triton_puts_before(
    error: server.ImageGenError, prefix: str
) -> None:
    twin = translated(prefix + str(error), "StatusCode.INTERNAL")
    assert type(twin).__name__ == type(error).__name__
    assert str(twin) == str(error)
    assert twin.field == getattr(error, "field", None)


def test_both_sides_know_the_same_codes() -> None:
    def codes(kind: type[Any]) -> set[str]:
        return {kind.code}.union(*map(codes, kind.__subclasses__()))

    assert codes(ImageGenerationError) == codes(server.ImageGenError)


@pytest.mark.parametrize(
    ("message", "status", "kind"),
    [
        ("unexpected inference input 'colour'", "StatusCode.INVALID_ARGUMENT", errors.InvalidArgument),
        ("unexpected inference input 'colour'", "400", errors.InvalidArgument),
        ("Exceeds maximum queue size", "StatusCode.UNAVAILABLE", errors.Unavailable),
        ("Exceeds maximum queue size", "503", errors.Unavailable),
        ("failed to connect to all addresses", "StatusCode.UNAVAILABLE", errors.ServerUnreachable),
        ("errors resolving no-such-host:8001", "StatusCode.UNAVAILABLE", errors.ServerUnreachable),
        ("Socket closed", "StatusCode.UNAVAILABLE", errors.ServerUnreachable),
        ("Request for unknown model", "StatusCode.NOT_FOUND", errors.Unavailable),
        ("Deadline Exceeded", "StatusCode.DEADLINE_EXCEEDED", errors.DeadlineExceeded),
        ("Locally cancelled", "StatusCode.CANCELLED", errors.Cancelled),
        ("in ensemble 'x', Stub process 'diffusion_0_0' is not healthy.", "500", errors.Unavailable),
        ("in ensemble 'x', Stub process 'd' is not healthy.", "StatusCode.INTERNAL", errors.Unavailable),
        ("scheduler for model has stopped accepting new inference requests", "500", errors.Unavailable),
        ("out of luck", "500", errors.InternalError),
        ("no status at all", None, errors.InternalError),
    ],
)
def test_without_a_code_the_status_decides(message: str, status: str | None, kind: type[ImageGenerationError]) -> None:
    error = translated(message, status)
    assert type(error) is kind
    assert message in str(error)


def test_unreachable_is_a_kind_of_unavailable_so_that_one_except_clause_retries_both() -> None:
    assert issubclass(errors.ServerUnreachable, errors.Unavailable)


def test_what_else_is_known_of_a_failure_comes_along() -> None:
    assert translated("Exceeds maximum queue size", "503").failure_kind is FailureKind.QUEUE_FULL
    assert translated("failed to connect", "StatusCode.UNAVAILABLE").failure_kind is FailureKind.UNREACHABLE
    assert errors.ServerUnreachable("nobody there").failure_kind is FailureKind.UNREACHABLE
    assert errors.Unavailable("later").failure_kind is FailureKind.NORMAL
