"""Errors of a request between the engine's process and the server's: what may be shown, and nothing else."""

from __future__ import annotations

from imagegen.api.errors import (
    Cancelled,
    DeadlineExceeded,
    ImageGenError,
    ImageRejected,
    InternalError,
    InvalidArgument,
    NonFinite,
    StorageFailed,
    Unavailable,
    as_client_error,
)
from imagegen.engine.worker.messages import Failed

_BY_CODE: dict[str, type[ImageGenError]] = {
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


def failed(number: int, error: BaseException) -> Failed:
    """The message that a request failed; an error that is not made to be shown goes without its detail."""
    shown = as_client_error(error)
    text = str(shown).removeprefix(f"{shown.code}: ")
    if isinstance(shown, InvalidArgument):
        return Failed(number, shown.code, text.removeprefix(f"{shown.field}: "), shown.field)
    if isinstance(shown, NonFinite):
        return Failed(number, shown.code, shown.cause, shown.stage)
    return Failed(number, shown.code, text)


def error_of(message: Failed) -> ImageGenError:
    """The error of a message, equal to what the engine raised."""
    kind = _BY_CODE[message.code]
    if message.subject is None:
        return kind(message.problem)
    return kind(message.subject, message.problem)
