"""The one table of errors, and the one place that knows how Triton and gRPC word theirs.

The server takes its exceptions from these rows. Triton's adapter, the OpenAI frontend and this client use `classify`
for what other models and servers report. Pure data: importing it loads no Triton or gRPC library.

A message of the server begins with a row's code (`invalid_argument: size: ...`); Triton may put words of its own before
that. What carries no code is classified by Triton's words, and else by its status: the same refusal has one status at
the server's door, another or none in a stream and in a call between models, and each may change with the release.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class ErrorCode:
    """One row of the table.

    Attributes:
        code: stable identifier, the first word of the message on the wire.
        triton_code: the name of the constant of `pb_utils.TritonError` that the response carries.
        http_status: the status that an HTTP front end responds with.
        grpc_status: the name of the status code that a gRPC client sees.
        message: what anybody may be told when nothing more precise is known.
    """

    code: str
    triton_code: str
    http_status: int
    grpc_status: str
    message: str


INVALID_ARGUMENT = ErrorCode("invalid_argument", "INVALID_ARG", 400, "INVALID_ARGUMENT", "a field breaks its rule")
IMAGE_REJECTED = ErrorCode("image_rejected", "INVALID_ARG", 400, "INVALID_ARGUMENT", "an image could not be accepted")
CANCELLED = ErrorCode("cancelled", "CANCELLED", 499, "CANCELLED", "the client cancelled the request")
DEADLINE_EXCEEDED = ErrorCode(
    "deadline_exceeded", "UNAVAILABLE", 503, "UNAVAILABLE", "timeout_ms passed before the image was finished"
)
UNAVAILABLE = ErrorCode("unavailable", "UNAVAILABLE", 503, "UNAVAILABLE", "not available now")
STORAGE_FAILED = ErrorCode("storage_failed", "UNAVAILABLE", 503, "UNAVAILABLE", "the images could not be stored")
NON_FINITE = ErrorCode(
    "non_finite", "INTERNAL", 500, "INTERNAL", "the model computed values that are not finite numbers"
)
INTERNAL_ERROR = ErrorCode(
    "internal_error",
    "INTERNAL",
    500,
    "INTERNAL",
    "the request failed inside the server; the server log has the reason",
)

ERROR_CODES: dict[str, ErrorCode] = {
    row.code: row
    for row in (
        INVALID_ARGUMENT,
        IMAGE_REJECTED,
        CANCELLED,
        DEADLINE_EXCEEDED,
        UNAVAILABLE,
        STORAGE_FAILED,
        NON_FINITE,
        INTERNAL_ERROR,
    )
}


class FailureKind(Enum):
    """What is known of a failure beyond its row, for those who treat some failures in a way of their own."""

    NORMAL = "normal"
    """Nothing more is known."""
    QUEUE_FULL = "queue_full"
    """Too many requests are waiting."""
    NOT_READY = "not_ready"
    """A model is being loaded, restarted or unloaded, or there is none of that name."""
    UNREACHABLE = "unreachable"
    """No server answers at the address, or the connection was lost."""
    IMAGE_TOO_LARGE = "image_too_large"
    """One image has too many bytes or pixels."""
    INTERNALS = "internals"
    """The problem is in Triton's or gRPC's own words, which name things that are nobody's business outside."""


@dataclass(frozen=True)
class Failure:
    """An error message, understood.

    Attributes:
        error: its row.
        problem: what is wrong, without code and field.
        field: the input at fault, such as `size` or `image[1]`; None when the message names none.
        kind: what else is known.
    """

    error: ErrorCode
    problem: str
    field: str | None
    kind: FailureKind


_CODED = re.compile(rf"(?:^|\W)({'|'.join(ERROR_CODES)}): (.*)", re.DOTALL)
_FIELD = re.compile(r"([a-z_]+(?:\[\d+\])?): (.*)", re.DOTALL)
_IMAGE_TOO_LARGE = re.compile(r"too_large: (?:is larger|has)")  # bytes or pixels of one image, not the number of images
_QUEUE_FULL = re.compile(r"maximum queue size|overloaded", re.IGNORECASE)  # Triton's words, and ours
_QUEUE_TIMEOUT = re.compile(r"request timeout expired", re.IGNORECASE)  # Triton's words: of its queue's own timeout
# Triton's words while a model is loaded, restarted or unloaded, its process is gone, or the server is ending.
_NOT_READY = re.compile(r"not ready|unknown model|no available versions|stopped accepting|stub process", re.IGNORECASE)
# gRPC gives a server that is full and one that is not there the same status; these words are gRPC's own.
_CONNECTION = re.compile(
    r"failed to connect|errors resolving|DNS resolution failed|socket closed|connection reset|connection refused"
    r"|broken pipe|recvmsg|sendmsg|GOAWAY",
    re.IGNORECASE,
)
_INTERNALS = re.compile(r"grpc|triton|model '|instance|rpc", re.IGNORECASE)

# By gRPC status as tritonclient reports it, by HTTP status, and by Triton's own code as its models see it.
_BY_STATUS: dict[str, ErrorCode] = {
    "StatusCode.INVALID_ARGUMENT": INVALID_ARGUMENT,
    "StatusCode.CANCELLED": CANCELLED,
    "StatusCode.DEADLINE_EXCEEDED": DEADLINE_EXCEEDED,
    "StatusCode.UNAVAILABLE": UNAVAILABLE,
    "StatusCode.RESOURCE_EXHAUSTED": UNAVAILABLE,
    "StatusCode.NOT_FOUND": UNAVAILABLE,
    "400": INVALID_ARGUMENT,
    "404": UNAVAILABLE,
    "413": INVALID_ARGUMENT,
    "429": UNAVAILABLE,
    "499": CANCELLED,
    "502": UNAVAILABLE,
    "503": UNAVAILABLE,
    "504": DEADLINE_EXCEEDED,
    "INVALID_ARG": INVALID_ARGUMENT,
    "CANCELLED": CANCELLED,
    "UNAVAILABLE": UNAVAILABLE,
}


def classify(message: str, status: str | None) -> Failure:
    """What an error message of the server, of Triton or of gRPC means.

    Args:
        message: as it came.
        status: `StatusCode.NAME` of gRPC, the digits of an HTTP status, or the name of a constant of
            `pb_utils.TritonError`; None where there is none.
    """
    coded = _CODED.search(message)
    if coded is not None:
        error, problem, field = ERROR_CODES[coded[1]], coded[2], None
        named = _FIELD.fullmatch(problem) if error in (INVALID_ARGUMENT, IMAGE_REJECTED) else None
        if named is not None:
            field, problem = named[1], named[2]
        return Failure(error, problem, field, _kind(error, problem))
    if status == "StatusCode.UNAVAILABLE" and _CONNECTION.search(message):
        return Failure(UNAVAILABLE, message, None, FailureKind.UNREACHABLE)
    error = _BY_STATUS.get(status or "", INTERNAL_ERROR)
    if error is INTERNAL_ERROR and (_QUEUE_FULL.search(message) or _QUEUE_TIMEOUT.search(message)):
        error = UNAVAILABLE
    elif error in (INTERNAL_ERROR, UNAVAILABLE) and _NOT_READY.search(message):
        return Failure(UNAVAILABLE, message, None, FailureKind.NOT_READY)
    return Failure(error, message, None, _kind(error, message))


def _kind(error: ErrorCode, problem: str) -> FailureKind:
    if error is IMAGE_REJECTED and _IMAGE_TOO_LARGE.match(problem):
        return FailureKind.IMAGE_TOO_LARGE
    if error is UNAVAILABLE and _QUEUE_FULL.search(problem):
        return FailureKind.QUEUE_FULL
    if error is UNAVAILABLE and _INTERNALS.search(problem):
        return FailureKind.INTERNALS
    return FailureKind.NORMAL
