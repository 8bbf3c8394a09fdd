"""Whether what came back is what had to come back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from imagegen_client.error_codes import classify
from perf.hostile.case import NO_HTTP, Case, Expected, HttpCase, Reply, Response, Way
from perf.hostile.served import NoImages, check_images, images_of
from perf.hostile.statuses import AT_FAULT, REFUSALS, SUCCESS, own_response
from perf.result_check import ResultCheck, WrongResult

_ERROR_KEYS = {"message", "type", "param", "code"}
_NO_HTTP_TEXT = b"Invalid HTTP request received."  # uvicorn's own, with 400, before the application sees anything

_INTERNALS = re.compile(
    rb"Traceback|File \"|site-packages|\.py\b|/(?:tmp|usr|home|root|work|proc|dev|etc)/|pybind|torch|diffusers|greenlet"
    rb"|<class|object at 0x|0x[0-9a-f]{6,}|(?<!the )\b\w+(?:Error|Exception)\b|NoneType|stub process|zmq|ipc://"
)
"""What must not be in an error's text, unless the client sent it."""
_BEHIND_OPENAI = re.compile(rb"(?i)grpc|triton|ensemble|tensor\b|image_preprocess|image_postprocess")
"""The same, of OpenAI's way: that there is Triton behind it is nobody's business."""


def problems(case: Case, reply: Reply, check: ResultCheck) -> Iterator[str]:
    """What is not as it has to be, in words.

    Args:
        case: what was sent.
        reply: what came back.
        check: compares images of the same request.
    """
    if case.expected is Expected.NOTHING:
        return
    if reply.lost:
        yield "no connection to the server"
        return
    if reply.hung:
        yield "hung"
        return
    if not reply.responses:
        if case.expected is not Expected.CLOSED:
            yield "closed without a response"
        return
    wanted = case.requests if isinstance(case, HttpCase) else 1
    if case.expected is Expected.REFUSED and len(reply.responses) < wanted:
        yield f"{len(reply.responses)} responses to {wanted} requests"
    failed = [response for response in reply.responses if not _is_success(case, response)]
    if failed:
        for response in failed:
            yield from _problems_of_refusal(case, response)
    elif case.expected in (Expected.REFUSED, Expected.CLOSED):
        yield f"accepted: {reply.responses[-1].body[:200]!r}"
    elif case.expected is not Expected.ACCEPTED:
        yield from _problems_of_images(case, reply, check)


def status_name(case: Case, reply: Reply) -> str:
    """How a reply counts in the summary."""
    if reply.hung or reply.lost:
        return f"{case.way.value}: {'hung' if reply.hung else 'no connection'}"
    if case.expected is Expected.NOTHING:
        return f"{case.way.value}: the client left"
    if not reply.responses:
        return f"{case.way.value}: closed"
    last = reply.responses[-1]
    status = "no HTTP" if last.status == NO_HTTP else last.status
    if status == "":
        row = classify(last.body.decode("utf-8", "replace"), None).error
        status = f"{row.grpc_status} in a stream" if row.triton_code == AT_FAULT else "Triton's text in a stream"
    own = " (Triton's own)" if not _is_success(case, last) and own_response(case.way, last) else ""
    return f"{case.way.value}: {status}{own}"


def _is_success(case: Case, response: Response) -> bool:
    return response.status == SUCCESS[case.way] and own_response(case.way, response) is None


def _problems_of_images(case: Case, reply: Reply, check: ResultCheck) -> Iterator[str]:
    try:
        images, seeds = images_of(case.way, reply.responses)
        check_images(images)
        if case.request is not None:
            check.check(case.request, images, seeds)
    except NoImages as error:
        yield f"success without a right image: {error}"
    except WrongResult as error:
        yield f"{error.kind}: {error.details}"


def _problems_of_refusal(case: Case, response: Response) -> Iterator[str]:
    text = response.body
    if case.expected is Expected.SERVED:
        yield f"a valid request was refused: {response.status} {text[:300]!r}"
    elif response.status not in REFUSALS[case.way] | case.also and not _is_known(case.way, response):
        yield f"status {response.status}: {text[:300]!r}"
    if case.way is Way.OPENAI and not _has_openai_shape(case, response):
        yield f"no error object of OpenAI's: {text[:200]!r}"
    sent = case.sent.replace(rb"\/", b"/").lower()
    shown = [_INTERNALS] + ([_BEHIND_OPENAI] if case.way is Way.OPENAI else [])
    for pattern in shown:
        for found in pattern.finditer(text):
            if found[0].lower() not in sent:
                yield f"says {found[0].decode('utf-8', 'replace')!r}, which is internal: {text[:300]!r}"


def _is_known(way: Way, response: Response) -> bool:
    """Whether it is one of the named refusals of Triton's own, or an error of ours that came without a status."""
    if own_response(way, response) is not None:
        return True
    row = classify(response.body.decode("utf-8", "replace"), None).error
    return response.status == "" and row.triton_code == AT_FAULT


def _has_openai_shape(case: Case, response: Response) -> bool:
    if isinstance(case, HttpCase) and case.head_only:
        return True
    if response.body == _NO_HTTP_TEXT and response.status == 400:
        return case.expected is Expected.CLOSED
    try:
        return set(json.loads(response.body)["error"]) == _ERROR_KEYS
    except (ValueError, KeyError, TypeError):
        return False
