"""A hostile request and what came back: the types that all modules of this package share."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from perf.workload import Request


class Way(Enum):
    """A public way into the server."""

    OPENAI = "OpenAI"
    HTTP = "Triton HTTP"
    GRPC = "Triton gRPC"
    FETCH = "image_preprocess alone"
    """A second server, which may fetch from private addresses: only so it can be sent to bad hosts on loopback."""


class Expected(Enum):
    """What is to come back."""

    SERVED = "served"
    """Success, and the images that `Case.request` asks for."""
    REFUSED = "refused"
    """A status that says that the request is at fault."""
    EITHER = "served or refused"
    """Chance decides whether the request is still a valid one; what is served are images."""
    ACCEPTED = "accepted or refused"
    """As EITHER, of a request that no image answers."""
    CLOSED = "refused or closed"
    """What is no HTTP at all: refused, or the connection is closed without a response."""
    NOTHING = "nothing"
    """The client leaves before it can have a response; the server goes on."""


class End(Enum):
    """How the client behaves once it has sent all it sends."""

    READ = "reads"
    """It reads the response, or until the server closes."""
    HALF_CLOSE = "half-closes"
    """It says that it sends no more, and reads."""
    RESET = "resets"
    """It breaks the connection, as a machine that is switched off."""
    CANCEL = "cancels"
    """It cancels the gRPC call."""


@dataclass(frozen=True)
class Case:
    """What all cases have.

    Attributes:
        way: where it goes.
        expected: what is to come back.
        also: statuses that are right too, besides those of `expected`.
        request: what the images are to be; only with SERVED.
        end: what the client does when it has sent everything.
        leave_after_s: how long it waits before it ends so; for RESET and CANCEL.
    """

    way: Way
    expected: Expected
    also: frozenset[int | str] = frozenset()
    request: Request | None = None
    end: End = End.READ
    leave_after_s: float = 0.0

    @property
    def sent(self) -> bytes:
        """All bytes that are sent."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class HttpCase(Case):
    """Bytes for a plain connection.

    Attributes:
        pieces: are sent one after the other.
        pause_s: between them.
        head_only: whether the response has no body, as that to HEAD.
        requests: how many they are; as many responses are read.
    """

    pieces: tuple[bytes, ...]
    pause_s: float = 0.0
    head_only: bool = False
    requests: int = 1

    @property
    def sent(self) -> bytes:
        """All bytes that are sent."""
        return b"".join(self.pieces)


@dataclass(frozen=True, kw_only=True)
class GrpcCase(Case):
    """Messages of a call of Triton's gRPC service.

    Attributes:
        messages: in their wire format, or what is to be taken for it.
        stream: whether it is `ModelStreamInfer` instead of `ModelInfer`.
        method: another method of the service.
    """

    messages: tuple[bytes, ...]
    stream: bool = False
    method: str = ""

    @property
    def sent(self) -> bytes:
        """All bytes that are sent."""
        return b"".join(self.messages)


NO_HTTP = -1
"""The status of bytes that are no HTTP response."""


@dataclass(frozen=True)
class Response:
    """One response.

    Attributes:
        status: HTTP's number, or the name of gRPC's status; "" of an error that a gRPC stream carries as a message.
        body: of HTTP, unchunked; of gRPC the message, or the text of the error.
        content_type: of HTTP.
    """

    status: int | str
    body: bytes
    content_type: str = ""


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        responses: in order; several over a gRPC stream. Without those of status 100.
        hung: whether the case's deadline passed first.
        lost: whether no connection could be made.
    """

    responses: tuple[Response, ...] = field(default_factory=tuple)
    hung: bool = False
    lost: bool = False
