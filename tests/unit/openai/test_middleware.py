"""The outermost layer around small applications."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from imagegen.openai import sse
from imagegen.openai.errors import BadRequest, ClientDisconnected
from imagegen.openai.metrics import FrontendMetrics
from imagegen.openai.middleware import RequestMiddleware

App = Callable[[Any, Any, Any], Awaitable[None]]


def run(app: App, *messages: Any, headers: dict[str, str] | None = None, timeout_s: float = 5) -> list[dict[str, Any]]:
    """What is sent for a request whose body comes in `messages`; with None among them the rest never comes."""
    sent: list[dict[str, Any]] = []
    waiting = list(messages)

    async def receive() -> Any:
        if not waiting:
            return {"type": "http.disconnect"}
        if waiting[0] is None:
            await asyncio.Event().wait()
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": raw}
    middleware = RequestMiddleware(app, FrontendMetrics(), max_body_bytes=10, body_timeout_s=timeout_s)
    asyncio.run(middleware(scope, receive, send))
    return sent


def piece(body: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def reads_all(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


def status(sent: list[dict[str, Any]]) -> int:
    return int(sent[0]["status"])


def sent_headers(sent: list[dict[str, Any]]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def test_a_body_within_the_limit() -> None:
    assert status(run(reads_all, piece(b"12345", True), piece(b"67890"))) == 200


@pytest.mark.parametrize(
    "messages", [[piece(b"12345678901")], [piece(b"123456", True), piece(b"123456", True), piece(b"", True)]]
)
def test_a_body_over_the_limit(messages: list[Any]) -> None:
    sent = run(reads_all, *messages)
    assert status(sent) == 413
    assert json.loads(sent[1]["body"])["error"]["code"] == "too_large"


def test_a_length_over_the_limit_is_enough() -> None:
    async def never() -> None:
        raise AssertionError("it was read")

    assert status(run(reads_all, headers={"content-length": "11"})) == 413


@pytest.mark.parametrize("length", ["", "-1", "x", "٣", "9" * 30])
def test_a_length_that_is_none_is_left_to_the_server(length: str) -> None:
    assert status(run(reads_all, piece(b"1"), headers={"content-length": length})) == 200


def test_a_slow_body() -> None:
    sent = run(reads_all, piece(b"1", True), None, timeout_s=0.01)
    assert (status(sent), sent_headers(sent)["connection"]) == (408, "close")


@pytest.mark.parametrize("given", ["a", "order-66.b_c", "x" * 64])
def test_an_id_is_kept(given: str) -> None:
    assert sent_headers(run(reads_all, piece(b""), headers={"x-request-id": given}))["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\n", "ä", "../a", '"', "-a"])
def test_an_id_that_is_none_is_replaced(given: str) -> None:
    made = sent_headers(run(reads_all, piece(b""), headers={"x-request-id": given}))["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", made)


def test_an_error_of_ours_that_nobody_responded_to() -> None:
    async def app(*_: Any) -> None:
        raise BadRequest("n: no", "n")

    assert status(run(app)) == 400


def test_an_error_of_nobody_shows_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def app(*_: Any) -> None:
        raise RuntimeError("secret detail")

    sent = run(app, headers={"x-request-id": "here"})
    assert status(sent) == 500
    assert b"secret" not in sent[1]["body"]
    assert any(record.__dict__.get("request_id") == "here" and record.exc_info for record in caplog.records)


def test_an_error_after_the_head_does_not_begin_again() -> None:
    async def app(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError

    assert len(run(app)) == 1


@pytest.mark.parametrize(
    ("error", "code"), [(RuntimeError(), "internal_error"), (asyncio.CancelledError(), "unavailable")]
)
def test_an_error_in_a_stream_is_its_last_event(error: BaseException, code: str) -> None:
    """Also the cancel that ends the time to drain."""

    async def app(_: Any, __: Any, send: Any) -> None:
        head = [(b"content-type", sse.CONTENT_TYPE.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        raise error

    last = run(app)[-1]
    assert last["body"].startswith(b"event: error\ndata: ")
    assert json.loads(last["body"].partition(b"data: ")[2])["error"]["code"] == code
    assert not last.get("more_body", False)


def test_an_error_after_the_end_of_a_stream_adds_nothing() -> None:
    async def app(_: Any, __: Any, send: Any) -> None:
        head = [(b"content-type", sse.CONTENT_TYPE.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        raise RuntimeError

    assert len(run(app)) == 2


def test_all_bodies_together_have_a_limit() -> None:
    """Each is held until its request ends."""
    statuses: list[int] = []
    read: list[Any] = []
    all_read = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        read.append(scope)
        await all_read.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def receive() -> Any:
        return piece(b"1234567890")

    async def together(count: int) -> list[int]:
        """The statuses of that many requests, none of which ends before all the bodies have come."""
        statuses.clear()
        read.clear()
        all_read.clear()
        scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
        requests = [asyncio.create_task(middleware(scope, receive, send)) for _ in range(count)]
        while len(read) + len(statuses) < count:
            await asyncio.sleep(0)
        all_read.set()
        await asyncio.gather(*requests)
        return sorted(statuses)

    async def rounds() -> None:
        assert await together(10) == [200] * 8 + [503] * 2
        assert await together(8) == [200] * 8

    middleware = RequestMiddleware(app, FrontendMetrics(), max_body_bytes=10, body_timeout_s=60)
    asyncio.run(rounds())


def test_a_response_that_fails_after_its_head_is_counted_by_how_it_failed(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        scope["state"]["log_context"] |= {"failed_status": 503, "reason": "the model ended"}

    with caplog.at_level("INFO"):
        run(app)
    line = caplog.records[-1].__dict__
    assert (line["status"], line["reason"]) == (503, "the model ended")
    assert "failed_status" not in line


def test_a_client_that_disconnected_gets_nothing_and_a_line(caplog: pytest.LogCaptureFixture) -> None:
    async def app(*_: Any) -> None:
        raise ClientDisconnected

    with caplog.at_level("INFO"):
        assert run(app) == []
    assert caplog.records[-1].__dict__["status"] == 499


def test_a_request_is_counted_with_its_route_and_its_seconds() -> None:
    metrics = FrontendMetrics()
    seconds = iter((100.0, 102.5))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["route"] = type("Route", (), {"path": "/v1/models"})
        assert b"imagegen_frontend_open_requests 1.0" in metrics.text()
        await reads_all(scope, receive, send)

    async def receive() -> Any:
        return piece(b"1")

    async def send(_: Any) -> None:
        pass

    middleware = RequestMiddleware(app, metrics, max_body_bytes=10, body_timeout_s=60, clock=lambda: next(seconds))
    asyncio.run(middleware({"type": "http", "method": "GET", "path": "/v1/models", "headers": []}, receive, send))
    text = metrics.text().decode()
    assert 'imagegen_frontend_requests_total{route="/v1/models",status="200"} 1.0' in text
    assert 'imagegen_frontend_request_seconds_sum{route="/v1/models"} 2.5' in text
    assert "imagegen_frontend_open_requests 0.0" in text
    assert middleware.open_requests == 0
