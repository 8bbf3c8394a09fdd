"""What can go wrong with a request, as exceptions.

    ImageGenerationError
    ├── InvalidArgument         a field is missing, malformed or out of range; `field` names it where known
    │   └── ImageRejected       an image or mask could not be fetched, decoded or accepted
    ├── Cancelled               the request was cancelled
    ├── DeadlineExceeded        `timeout_ms` passed on the server, or `timeout_s` here
    ├── Unavailable             full, shutting down, or without the model; trying again later may work
    │   └── ServerUnreachable   no server answered at the address, or it went away
    ├── StorageFailed           the server's result store did not take the images
    ├── NonFinite               the model computed values that are not numbers: there is no image to send
    └── InternalError           anything else; the server's log has the reason

`imagegen_client.error_codes` says how what the server reports is told apart.
"""

from __future__ import annotations

from tritonclient.utils import InferenceServerException

from imagegen_client.error_codes import (
    CANCELLED,
    DEADLINE_EXCEEDED,
    IMAGE_REJECTED,
    INTERNAL_ERROR,
    INVALID_ARGUMENT,
    NON_FINITE,
    STORAGE_FAILED,
    UNAVAILABLE,
    FailureKind,
    classify,
)


class ImageGenerationError(Exception):
    """Base of every error of this package.

    Attributes:
        code: stable identifier, the same as the server's; also the first word of the message.
        field: the argument at fault, such as `size` or `image[1]`; None when no single one is.
        problem: what is wrong, in words.
        failure_kind: what else is known, for those who treat a full queue or a server that starts differently.
    """

    code = INTERNAL_ERROR.code

    def __init__(self, problem: str, field: str | None = None, failure_kind: FailureKind = FailureKind.NORMAL) -> None:
        super().__init__(problem, field, failure_kind)
        self.problem = problem
        self.field = field
        self.failure_kind = failure_kind

    def __str__(self) -> str:
        return ": ".join(part for part in (self.code, self.field, self.problem) if part)


class InvalidArgument(ImageGenerationError):
    """A field breaks its rule; sending the same request again fails again."""

    code = INVALID_ARGUMENT.code


class ImageRejected(InvalidArgument):
    """An image or mask could not be fetched, decoded or accepted."""

    code = IMAGE_REJECTED.code


class Cancelled(ImageGenerationError):
    """The request was cancelled before it was done."""

    code = CANCELLED.code


class DeadlineExceeded(ImageGenerationError):
    """The request's `timeout_ms` passed on the server, or its `timeout_s` in this client."""

    code = DEADLINE_EXCEEDED.code


class Unavailable(ImageGenerationError):
    """The server cannot take or finish the request now; trying again later may work."""

    code = UNAVAILABLE.code


class ServerUnreachable(Unavailable):
    """No server answered at the address, or the connection to it was lost."""

    def __init__(
        self, problem: str, field: str | None = None, failure_kind: FailureKind = FailureKind.UNREACHABLE
    ) -> None:
        super().__init__(problem, field, failure_kind)


class StorageFailed(ImageGenerationError):
    """The server's result store did not take the images; none of them is left in it."""

    code = STORAGE_FAILED.code


class NonFinite(ImageGenerationError):
    """The model computed values that are not finite numbers, from which no image can be made."""

    code = NON_FINITE.code


class InternalError(ImageGenerationError):
    """An unexpected failure; the server's log has the reason."""


_BY_CODE: dict[str, type[ImageGenerationError]] = {
    kind.code: kind
    for kind in (
        InvalidArgument,
        ImageRejected,
        Cancelled,
        DeadlineExceeded,
        Unavailable,
        StorageFailed,
        NonFinite,
        InternalError,
    )
}


def from_triton(error: InferenceServerException) -> ImageGenerationError:
    """The exception of this package for one of tritonclient."""
    failure = classify(error.message() or "no message", error.status())
    unreachable = failure.kind is FailureKind.UNREACHABLE
    kind = ServerUnreachable if unreachable else _BY_CODE[failure.error.code]
    return kind(failure.problem, failure.field, failure.kind)
