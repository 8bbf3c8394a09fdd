"""What became of a request, and when the engine was ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Result(Enum):
    """What a client was told."""

    SUCCEEDED = "succeeded"
    """The images, and they are what was asked for."""
    UNAVAILABLE = "unavailable"
    """`UNAVAILABLE` over gRPC or 503 over HTTP, by the server, in words: it may be sent again."""
    TOO_LATE = "too late"
    """Its deadline had passed."""
    OTHER = "other"
    """Anything else: a broken connection, no response, a wrong image, an internal error."""


@dataclass(frozen=True)
class Outcome:
    """A request and its response. Moments are those of `time.monotonic`.

    Attributes:
        way: by which interface it was sent.
        sent_s: when.
        answered_s: when all of the response had come.
        result: what it says.
        said: words of the error; empty when there was none.
        timeout_ms: deadline that it had; None for none.
    """

    way: str
    sent_s: float
    answered_s: float
    result: Result
    said: str = ""
    timeout_ms: int | None = None


@dataclass(frozen=True)
class End:
    """One time that harm was done to the engine. Moments are those of `time.monotonic`.

    Attributes:
        began_s: when.
        over_s: from when on clients may expect a response: the moment of the signal where that is the end of the
            process, else when the process had ended or the harm was taken away.
        ended: whether the process had ended by then.
        load_s: seconds for which the next process loaded; 0 where there was no next one.
    """

    began_s: float
    over_s: float
    ended: bool = True
    load_s: float = 0.0
