"""Errors as a client sees them: a status, and OpenAI's shape around a message that is safe to show.

ApiError
├── BadRequest            400  a field is missing, malformed, unknown or cannot be honoured
├── KeyRefused            401  no API key, or one that is not known; the same of an administrator's
├── NotFound              404  no such route, model or file
├── MethodNotAllowed      405
├── TooSlow               408  the body did not arrive in time, or the request's own deadline passed
├── TooLarge              413  the body, or an image in it
├── WrongContentType      415
├── HeadTooLarge          431  the head of the request
├── Busy                  429  too many requests of this key, or Triton's queue is full; Retry-After
├── ClientDisconnected    499  the client closed the connection: for the log, nobody reads the response
├── Cancelled             499  somebody cancelled the request by its id
├── NoImage               500  the model computed values that are not numbers; x-should-retry: false
├── Failed                500  anything else; the log has the reason
└── NotAvailable          503  Triton or the result store cannot do it now; Retry-After
"""

from __future__ import annotations

import re
from typing import Any

import imagegen_client
from imagegen_client import FailureKind, ImageGenerationError

RETRY_AFTER_S = 2
_SHOWN_CHARACTERS = 500
_REFERENCES = "reference_image"
_REFERENCE = re.compile(rf"(?<![^ ]){_REFERENCES}(?=(\[[0-9]+\])?: )", re.ASCII)


class ApiError(Exception):
    """Base of all.

    Attributes:
        status: the HTTP status.
        kind: OpenAI's `type`.
        code: a stable word for programs.
        param: the field at fault, or None.
        headers: to be sent along.
    """

    status = 500
    kind = "server_error"
    code: str | None = None
    headers: dict[str, str]

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(shown(message))
        self.param = None if param is None else shown(param)
        self.code = code or type(self).code
        self.headers = {}

    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        return {"error": {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}}


class BadRequest(ApiError):
    """The request breaks a rule; sending it again fails again."""

    status = 400
    kind = "invalid_request_error"
    code = "invalid_value"


class KeyRefused(ApiError):
    """The API key is missing or unknown."""

    status = 401
    kind = "authentication_error"
    code = "invalid_api_key"

    def __init__(self, message: str = "a valid API key is needed, as in the header Authorization: Bearer KEY") -> None:
        super().__init__(message)
        self.headers = {"WWW-Authenticate": "Bearer"}


class NotFound(ApiError):
    """There is no such thing here."""

    status = 404
    kind = "invalid_request_error"
    code = "not_found"


class MethodNotAllowed(ApiError):
    """The route exists for other methods."""

    status = 405
    kind = "invalid_request_error"
    code = "method_not_allowed"

    def __init__(self, allowed: str) -> None:
        super().__init__(f"this route takes {allowed}")
        self.headers = {"Allow": allowed}


class TooSlow(ApiError):
    """A deadline passed."""

    status = 408
    kind = "invalid_request_error"
    code = "timeout"


class TooLarge(ApiError):
    """More bytes or pixels than allowed."""

    status = 413
    kind = "invalid_request_error"
    code = "too_large"


class WrongContentType(ApiError):
    """The body is of a type, or in an encoding, that the route does not take.

    Args:
        message: what is wrong.
        header: of the response, that says what is taken.
        accepted: its value.
    """

    status = 415
    kind = "invalid_request_error"
    code = "unsupported_content_type"

    def __init__(self, message: str, header: str, accepted: str) -> None:
        super().__init__(message)
        self.headers = {header: accepted}


class HeadTooLarge(ApiError):
    """The head of the request is too large."""

    status = 431
    kind = "invalid_request_error"
    code = "too_large"


class Busy(ApiError):
    """Trying again later works."""

    status = 429
    kind = "rate_limit_error"
    code = "rate_limit_exceeded"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.headers = {"Retry-After": str(RETRY_AFTER_S)}


class ClientDisconnected(ApiError):
    """The client closed the connection."""

    status = 499
    code = "client_closed_request"

    def __init__(self) -> None:
        super().__init__("the client closed the connection")


class Cancelled(ApiError):
    """The request was cancelled by its id. Not 503: OpenAI's clients would send it again."""

    status = 499
    code = "cancelled"

    def __init__(self) -> None:
        super().__init__("the request was cancelled")
        self.headers = {"x-should-retry": "false"}


class Failed(ApiError):
    """An unexpected failure; no detail is shown."""

    code = "internal_error"

    def __init__(self) -> None:
        super().__init__("the request failed inside the server; its log has the reason under the same x-request-id")


class NoImage(ApiError):
    """The model computed values that are not finite numbers. Sending the request again gives the same."""

    code = "non_finite"

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.headers = {"x-should-retry": "false"}


class NotAvailable(ApiError):
    """The servers behind cannot take or finish the request now."""

    status = 503
    code = "unavailable"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.headers = {"Retry-After": str(RETRY_AFTER_S)}


def shown(text: str) -> str:
    """Text that may repeat what a client sent: valid Unicode, and not a megabyte of it."""
    clean = text.encode("utf-8", "replace").decode()
    return clean if len(clean) <= _SHOWN_CHARACTERS else clean[:_SHOWN_CHARACTERS] + "…"


def to_api_error(error: ImageGenerationError, references: str = _REFERENCES) -> ApiError:
    """How to respond when Triton refused or failed a request.

    Args:
        error: as the client library raised it.
        references: what the request calls its reference images, where it is not by the name of the tensor.
    """
    problem, kind = error.problem, error.failure_kind
    if isinstance(error, imagegen_client.InvalidArgument):
        # Of several bad images each is named, in front of what is wrong with it.
        message = _REFERENCE.sub(references, problem if error.field is None else f"{error.field}: {problem}")
        field = None if error.field is None else error.field.partition("[")[0]
        field = references if field == _REFERENCES else field
        if kind is FailureKind.IMAGE_TOO_LARGE:
            return TooLarge(message, field)
        return BadRequest(message, field, error.code if isinstance(error, imagegen_client.ImageRejected) else None)
    if isinstance(error, imagegen_client.DeadlineExceeded):
        late = TooSlow(problem, "timeout_ms", code=error.code)
        late.headers = {"x-should-retry": "false"}  # OpenAI's clients would send it twice more, to be as late again
        return late
    if isinstance(error, imagegen_client.Cancelled):
        return Cancelled()
    if isinstance(error, imagegen_client.StorageFailed):
        return NotAvailable(problem, code=error.code)
    if isinstance(error, imagegen_client.NonFinite):
        return NoImage(problem)
    if kind is FailureKind.UNREACHABLE:
        return NotAvailable("the image server cannot be reached")
    if kind is FailureKind.QUEUE_FULL:
        return Busy("too many requests are waiting; try again later")
    if isinstance(error, imagegen_client.Unavailable):
        if kind is FailureKind.NOT_READY:
            return NotAvailable("the image server is not ready")
        return NotAvailable(problem if kind is FailureKind.NORMAL else "not available now")
    return Failed()
