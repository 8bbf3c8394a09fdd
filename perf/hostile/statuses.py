"""The one table of what may come back by way: the documented statuses, and by name what Triton does on its own.

The documented ones are taken from where the server itself takes them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from imagegen.openai import errors as openai_errors
from imagegen_client.error_codes import ERROR_CODES
from perf.hostile.case import NO_HTTP, Response, Way

AT_FAULT = "INVALID_ARG"
"""Triton's code of the rows of the error table that say that the request is at fault."""


def _openai_refusals() -> frozenset[int | str]:
    """Of the classes of `imagegen.openai.errors` those that say that the request is at fault."""
    kinds = openai_errors.ApiError.__subclasses__()
    at_fault = [kind.status for kind in kinds if kind.kind not in ("server_error", openai_errors.Busy.kind)]
    return frozenset(at_fault)


_GRPC_REFUSALS: frozenset[int | str] = frozenset(
    row.grpc_status for row in ERROR_CODES.values() if row.triton_code == AT_FAULT
)
REFUSALS: dict[Way, frozenset[int | str]] = {
    Way.OPENAI: _openai_refusals(),
    Way.HTTP: frozenset(row.http_status for row in ERROR_CODES.values() if row.triton_code == AT_FAULT),
    Way.GRPC: _GRPC_REFUSALS,
    Way.FETCH: _GRPC_REFUSALS,
}
"""The documented statuses of a request that is at fault."""

SUCCESS: dict[Way, int | str] = {Way.OPENAI: 200, Way.HTTP: 200, Way.GRPC: "OK", Way.FETCH: "OK"}


@dataclass(frozen=True)
class OwnResponse:
    """A refusal of Triton's own (24.10), or of uvicorn's, that has another status than the documented one.

    Attributes:
        way: where.
        status: that it has.
        words: a regular expression for its text.
        meaning: of what, as documented.
        reason: why it is so.
    """

    way: Way
    status: int | str
    words: str
    meaning: str
    reason: str

    def matches(self, way: Way, response: Response) -> bool:
        """Whether the response is of this kind."""
        return (way, response.status) == (self.way, self.status) and bool(
            re.search(self.words.encode(), response.body, re.DOTALL)
        )


_NOT_OURS = "answered before any of our models sees the request"
OWN_RESPONSES = (
    OwnResponse(
        Way.HTTP,
        500,
        r"failed to parse the request JSON buffer|attempt to (access|get) |true shape of 'data'|Unable to parse",
        "a body that is no JSON, or a value of another JSON type than the tensor",
        f"Triton reports what its JSON library says as internal; {_NOT_OURS}",
    ),
    OwnResponse(
        Way.HTTP,
        404,
        r"unknown model|Not Found|shared memory region",
        "an unknown model, version, route or shared memory region; a request line that arrives in two pieces",
        f"{_NOT_OURS}; of a line in pieces its parser keeps a part of the path",
    ),
    OwnResponse(Way.HTTP, 405, r"Method Not Allowed", "another method than the route has", _NOT_OURS),
    OwnResponse(
        Way.HTTP,
        NO_HTTP,
        r'^\{"error":"(Method Not Allowed|Not Found)"\}$',
        "HEAD, with a body behind the status 405 or 404",
        "a response to HEAD has no body; Triton sends one",
    ),
    OwnResponse(Way.HTTP, 403, r"This API is restricted", "an admin API without its key", _NOT_OURS),
    OwnResponse(
        Way.HTTP,
        501,
        r"decoupled transaction policy",
        "`/infer` of `image_generation_stream`",
        "it sends several responses, which that route has no form for",
    ),
    OwnResponse(
        Way.HTTP,
        200,
        r'^\{"error":"generate expects model to produce exactly 1 response',
        "`/generate` of `image_generation_stream`",
        "Triton has sent the status before it sees that there are several responses",
    ),
    OwnResponse(
        Way.GRPC,
        "NOT_FOUND",
        r"unknown model|shared memory region",
        "an unknown model, version or shared memory region",
        _NOT_OURS,
    ),
    OwnResponse(
        Way.GRPC,
        "INTERNAL",
        r"Unable to parse request",
        "bytes that are no message of the protocol",
        "the gRPC library's own; Triton does not see them",
    ),
    OwnResponse(
        Way.GRPC,
        "UNIMPLEMENTED",
        r"decoupled transaction policy|^$",
        "`ModelInfer` of `image_generation_stream`; a method that there is not",
        _NOT_OURS,
    ),
    OwnResponse(
        Way.GRPC,
        "",
        r"^(\[request id: [^\]]*\] )?((All input dimensions|Request for unknown|Unable to find shared memory|input '|"
        r"input byte size|inference input|unexpected |unable to find data|expected |failed to get model version|"
        r"invalid value|invalid model version|contents field|"
        r"parameter keys|incomplete string|'shared_memory_byte_size'|"
        r"in ensemble '\w+', incomplete string))",
        "tensors that break the model's configuration, in `ModelStreamInfer`",
        "an error of a stream is a message that has a text and no status",
    ),
)
"""Named one by one: nothing else that differs from the documented statuses is accepted."""

CLOSES = (
    (
        "what is no HTTP/1.1: a wrong version or length, a broken header or chunk, 80 kB of headers; some of several"
        " requests that are pipelined",
        "Triton's parser closes the connection",
    ),
)
"""Where no response at all is Triton's own way over HTTP: (of what, why). Cases of it are `Expected.CLOSED`."""

LEFT_OUT = (
    (
        "the parameter `classification` for an output of type BYTES, over HTTP and gRPC",
        "Triton's process dies in its own front end, behind our models (24.10; a model cannot see the parameter)."
        " The supervisor starts it again; keep its ports inside",
    ),
    (
        "JSON with a tensor's content inside 50,000 arrays, by `/generate` and `/infer`; 20,000 are survived",
        "Triton's process dies: its front end goes through them by recursion, until its stack is full",
    ),
    (
        "cancelling a gRPC stream just after `completed`, and `triton_grpc_error`",
        "can crash 24.10, see docs/api.md",
    ),
)
"""What is not sent, since one request of it ends a server of release 24.10: (what, why)."""


def own_response(way: Way, response: Response) -> OwnResponse | None:
    """The row of `OWN_RESPONSES` that a response belongs to."""
    return next((row for row in OWN_RESPONSES if row.matches(way, response)), None)
