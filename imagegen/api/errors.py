"""Errors a client may see, each with a stable code, an HTTP status and a message that is safe to show.

    ImageGenError
    ├── InvalidArgument     400  invalid_argument    a field is missing, malformed or out of range
    │   └── ImageRejected   400  image_rejected      an image could not be loaded, decoded or accepted
    ├── Cancelled           499  cancelled           the client cancelled the request or disconnected
    ├── DeadlineExceeded    503  deadline_exceeded   `timeout_ms` passed before the image was ready
    ├── Unavailable         503  unavailable         shutting down, or out of a resource for now
    │   └── Asleep          503  unavailable         an administrator has put the model to sleep
    ├── StorageFailed       503  storage_failed      the result store did not take the images
    ├── NonFinite           500  non_finite          the model computed values that are not finite numbers
    └── InternalError       500  internal_error      anything else; the log has the detail

Each class is one row of the table in `imagegen_client.error_codes`, which the clients read too. A Triton response
carries one of Triton's own codes; Triton maps INVALID_ARG to HTTP 400 and gRPC INVALID_ARGUMENT, UNAVAILABLE to 503,
CANCELLED to 499, the rest to 500. The message starts with our `code` (an ensemble puts its own name before it), so that
a client can tell what happened without parsing prose.
"""

from __future__ import annotations

from imagegen_client import (
    CANCELLED,
    DEADLINE_EXCEEDED,
    IMAGE_REJECTED,
    INTERNAL_ERROR,
    INVALID_ARGUMENT,
    NON_FINITE,
    STORAGE_FAILED,
    UNAVAILABLE,
    ErrorCode,
)


class ImageGenError(Exception):
    """Base of everything that is reported to a client.

    Attributes:
        row: its row in the table of errors.
        code: stable identifier, also the first word of the message on the wire.
        http_status: the status an HTTP front end should respond with.
        triton_code: the name of the matching constant of `pb_utils.TritonError`.
    """

    row: ErrorCode = INTERNAL_ERROR
    code: str = row.code
    http_status: int = row.http_status
    triton_code: str = row.triton_code

    def __init_subclass__(cls) -> None:
        cls.code, cls.http_status, cls.triton_code = cls.row.code, cls.row.http_status, cls.row.triton_code

    def __str__(self) -> str:
        return f"{self.code}: {super().__str__()}"


class InvalidArgument(ImageGenError):
    """A field breaks its rule. The message names the field, the value and what is allowed."""

    row = INVALID_ARGUMENT

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class ImageRejected(InvalidArgument):
    """An image or mask could not be fetched, decoded or accepted."""

    row = IMAGE_REJECTED


class Cancelled(ImageGenError):
    """The client cancelled the request."""

    row = CANCELLED


class DeadlineExceeded(ImageGenError):
    """The request's own `timeout_ms` passed."""

    row = DEADLINE_EXCEEDED


class Unavailable(ImageGenError):
    """The server cannot take or finish the request now; trying again later may work."""

    row = UNAVAILABLE


class Asleep(Unavailable):
    """An administrator has put the model to sleep, and the request has no deadline up to which it could wait."""

    def __init__(self) -> None:
        super().__init__("the model is asleep; an administrator can wake it")


class StorageFailed(ImageGenError):
    """The images could not be stored: the result store is down, full or refuses us."""

    row = STORAGE_FAILED


class NonFinite(ImageGenError):
    """The model computed values that are not finite numbers, from which no image can be made.

    Args:
        stage: where: encode, denoise, decode or control_preprocess.
        cause: what it usually comes from.
    """

    row = NON_FINITE

    def __init__(self, stage: str, cause: str) -> None:
        self.stage, self.cause = stage, cause
        self.problem = f"{stage}: the model computed values that are not finite numbers; usually {cause}"
        super().__init__(self.problem)


class InternalError(ImageGenError):
    """An unexpected failure. Carries no detail: the log has it under the same request id."""


def as_client_error(error: BaseException) -> ImageGenError:
    """The error to show for `error`: itself when it is made to be shown, else one without internals."""
    if isinstance(error, ImageGenError):
        return error
    return InternalError(INTERNAL_ERROR.message)
