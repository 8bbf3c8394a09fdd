"""Responses to whatever a route raises."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from imagegen.openai.error_handlers import add_error_handlers
from imagegen.openai.errors import Busy, ClientDisconnected


def get(path: str, method: str = "GET") -> httpx2.Response:
    app = FastAPI()
    add_error_handlers(app)

    @app.get("/busy")
    async def busy() -> None:
        raise Busy("too many")

    @app.get("/bug")
    async def bug() -> None:
        raise RuntimeError("a secret")

    @app.get("/number/{value}")
    async def number(value: int) -> None:
        """Takes a number."""

    async def exchange() -> httpx2.Response:
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.request(method, path)

    return asyncio.run(exchange())


@pytest.mark.parametrize(
    ("path", "method", "status", "code"),
    [
        ("/busy", "GET", 429, "rate_limit_exceeded"),
        ("/bug", "GET", 500, "internal_error"),
        ("/nowhere", "GET", 404, "not_found"),
        ("/busy", "DELETE", 405, "method_not_allowed"),
        ("/number/x", "GET", 400, "invalid_value"),
    ],
)
def test_each_is_openais_error_object(path: str, method: str, status: int, code: str) -> None:
    response = get(path, method)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert "secret" not in response.text
    assert ("allow" in response.headers) == (status == 405)
    assert ("retry-after" in response.headers) == (status == 429)


def test_a_client_that_disconnected_is_sent_nothing() -> None:
    app = FastAPI()
    add_error_handlers(app)

    @app.get("/")
    async def leaves() -> None:
        raise ClientDisconnected

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], "app": app}
    asyncio.run(app(scope, receive, send))
    assert sent == []
