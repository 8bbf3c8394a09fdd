"""What can go wrong with a request, as exceptions.

    ImageGenerationError
    ├── InvalidArgument         a field is missing, malformed or out of range; `field` names it where known
    │   └── ImageRejected       an image or mask could not be fetched, decoded or accepted
    ├── Cancelled               the request was cancelled
    ├── DeadlineExceeded        `timeout_ms` passed on the server, or `timeout_s` here
    ├── Unavailable             full, shutting down, or without the model; trying again later may work
    │   └── ServerUnreachable   no server answered at the address, or it went away
    ├── StorageFailed           the server's result store did not take the images
    └── InternalError           anything else; the server's log has the reason

The server puts a stable code in front of its messages (`invalid_argument: size: ...`), and Triton may put
words of its own in front of that. An error is mapped by that code, else by its gRPC or HTTP status.
"""

from __future__ import annotations

import re

from tritonclient.utils import InferenceServerException


class ImageGenerationError(Exception):
    """Base of every error of this package.

    Attributes:
        code: stable identifier, the same as the server's; also the first word of the message.
        field: the argument at fault, such as `size` or `image[1]`; None when no single one is.
        problem: what is wrong, in words.
    """

    code = "internal_error"

    def __init__(self, problem: str, field: str | None = None) -> None:
        super().__init__(problem, field)
        self.problem = problem
        self.field = field

    def __str__(self) -> str:
        return ": ".join(part for part in (self.code, self.field, self.problem) if part)


class InvalidArgument(ImageGenerationError):
    """A field breaks its rule; sending the same request again fails again."""

    code = "invalid_argument"


class ImageRejected(InvalidArgument):
    """An image or mask could not be fetched, decoded or accepted."""

    code = "image_rejected"


class Cancelled(ImageGenerationError):
    """The request was cancelled before it was done."""

    code = "cancelled"


class DeadlineExceeded(ImageGenerationError):
    """The request's `timeout_ms` passed on the server, or its `timeout_s` in this client."""

    code = "deadline_exceeded"


class Unavailable(ImageGenerationError):
    """The server cannot take or finish the request now; trying again later may work."""

    code = "unavailable"


class ServerUnreachable(Unavailable):
    """No server answered at the address, or the connection to it was lost."""


class StorageFailed(ImageGenerationError):
    """The server's result store did not take the images; none of them is left in it."""

    code = "storage_failed"


class InternalError(ImageGenerationError):
    """An unexpected failure; the server's log has the reason."""


_BY_CODE: dict[str, type[ImageGenerationError]] = {
    kind.code: kind
    for kind in (InvalidArgument, ImageRejected, Cancelled, DeadlineExceeded, Unavailable, StorageFailed, InternalError)
}
_CODED = re.compile(rf"(?:^|\W)({'|'.join(_BY_CODE)}): (.*)", re.DOTALL)
_FIELD = re.compile(r"([a-z_]+(?:\[\d+\])?): (.*)", re.DOTALL)

# As tritonclient reports them: the name of the gRPC status code, or the digits of the HTTP status.
_BY_STATUS: dict[str, type[ImageGenerationError]] = {
    "StatusCode.INVALID_ARGUMENT": InvalidArgument,
    "StatusCode.CANCELLED": Cancelled,
    "StatusCode.DEADLINE_EXCEEDED": DeadlineExceeded,
    "StatusCode.UNAVAILABLE": Unavailable,
    "StatusCode.RESOURCE_EXHAUSTED": Unavailable,
    "StatusCode.NOT_FOUND": Unavailable,
    "400": InvalidArgument,
    "404": Unavailable,
    "413": InvalidArgument,
    "429": Unavailable,
    "499": Cancelled,
    "502": Unavailable,
    "503": Unavailable,
    "504": DeadlineExceeded,
}

# gRPC gives a server that is full and one that is not there the same status; these words are gRPC's own.
_CONNECTION_WORDS = re.compile(
    r"failed to connect|errors resolving|DNS resolution failed|socket closed|connection reset|connection refused"
    r"|broken pipe|recvmsg|sendmsg|GOAWAY",
    re.IGNORECASE,
)


# Triton's own words, with the status of an internal error, while one of its model processes is gone or it is ending.
_GOING_WORDS = re.compile(r"stub process .* is not healthy|stopped accepting new inference requests", re.IGNORECASE)


def from_triton(error: InferenceServerException) -> ImageGenerationError:
    """The exception of this package for one of tritonclient."""
    message, status = error.message() or "no message", error.status()
    coded = _CODED.search(message)
    if coded is not None:
        kind, problem = _BY_CODE[coded[1]], coded[2]
        field = _FIELD.fullmatch(problem) if issubclass(kind, InvalidArgument) else None
        return kind(field[2], field[1]) if field is not None else kind(problem)
    if status == "StatusCode.UNAVAILABLE" and _CONNECTION_WORDS.search(message):
        return ServerUnreachable(message)
    if _GOING_WORDS.search(message):
        return Unavailable(message)
    return _BY_STATUS.get(status or "", InternalError)(message)
