"""Errors a client may see, each with a stable code, an HTTP status and a message that is safe to show.

    ImageGenError
    ├── InvalidArgument     400  invalid_argument    a field is missing, malformed or out of range
    │   └── ImageRejected   400  image_rejected      an image could not be loaded, decoded or accepted
    ├── Cancelled           499  cancelled           the client walked away
    ├── DeadlineExceeded    503  deadline_exceeded   `timeout_ms` passed before the image was ready
    ├── Unavailable         503  unavailable         shutting down, or out of a resource for now
    ├── StorageFailed       503  storage_failed      the result store did not take the images
    └── InternalError       500  internal_error      anything else; the log has the detail

A Triton response carries one of Triton's own codes (`triton_code`); Triton maps INVALID_ARG to HTTP 400
and gRPC INVALID_ARGUMENT, UNAVAILABLE to 503, CANCELLED to 499, the rest to 500. The message starts
with our `code` (an ensemble puts its own name before it), so that a client can tell what happened without parsing
prose.
"""

from __future__ import annotations


class ImageGenError(Exception):
    """Base of everything that is reported to a client.

    Attributes:
        code: stable identifier, also the first word of the message on the wire.
        http_status: the status an HTTP front end should answer with.
        triton_code: the name of the matching constant of `pb_utils.TritonError`.
    """

    code = "internal_error"
    http_status = 500
    triton_code = "INTERNAL"

    def __str__(self) -> str:
        return f"{self.code}: {super().__str__()}"


class InvalidArgument(ImageGenError):
    """A field breaks its rule. The message names the field, the value and what is allowed."""

    code = "invalid_argument"
    http_status = 400
    triton_code = "INVALID_ARG"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class ImageRejected(InvalidArgument):
    """An image or mask could not be fetched, decoded or accepted."""

    code = "image_rejected"


class Cancelled(ImageGenError):
    """The client cancelled the request."""

    code = "cancelled"
    http_status = 499
    triton_code = "CANCELLED"


class DeadlineExceeded(ImageGenError):
    """The request's own `timeout_ms` passed."""

    code = "deadline_exceeded"
    http_status = 503
    triton_code = "UNAVAILABLE"


class Unavailable(ImageGenError):
    """The server cannot take or finish the request now; trying again later may work."""

    code = "unavailable"
    http_status = 503
    triton_code = "UNAVAILABLE"


class StorageFailed(ImageGenError):
    """The images could not be stored: the result store is down, full or refuses us."""

    code = "storage_failed"
    http_status = 503
    triton_code = "UNAVAILABLE"


class InternalError(ImageGenError):
    """An unexpected failure. Carries no detail: the log has it under the same request id."""


def as_client_error(error: BaseException) -> ImageGenError:
    """The error to show for `error`: itself when it is made to be shown, else one without internals."""
    if isinstance(error, ImageGenError):
        return error
    return InternalError("the request failed inside the server; the server log has the reason")
