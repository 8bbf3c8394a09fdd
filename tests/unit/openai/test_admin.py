"""The routes of administrators, with a server whose key is theirs to know."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import httpx2
import pytest
from fastapi import FastAPI

from imagegen.openai.admin import AdminRoutes
from imagegen.openai.app import Frontend
from imagegen.openai.error_handlers import add_error_handlers
from imagegen.openai.settings import Settings
from imagegen.openai.triton_images import TritonImages
from imagegen_client import FailureKind, InvalidArgument, ServerUnreachable, Unavailable

ROUTES = {"sleep": "post", "wake": "post", "state": "get"}
KEY = {"authorization": "Bearer secret"}


class Triton:
    """Does what its administrator says.

    Attributes:
        asked: commands and levels.
        error: raised instead.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, int | None]] = []
        self.error: Exception | None = None

    async def administrate(self, command: str, admin_key: str, level: int | None = None) -> dict[str, Any]:
        if admin_key != "secret":
            raise InvalidArgument("not the administrator's key", "admin_key")
        if self.error is not None:
            raise self.error
        self.asked.append((command, level))
        return {"instances": [{"instance": "diffusion_0", "sleep_level": level or 0}]}


@pytest.fixture
def triton() -> Triton:
    return Triton()


def respond(triton: Triton | None, method: str, path: str, **options: Any) -> httpx2.Response:
    """The response to one request."""

    async def exchange() -> httpx2.Response:
        app = FastAPI()
        add_error_handlers(app)
        AdminRoutes(Settings(), lambda: cast(TritonImages, triton)).add_to(app)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://here") as client:
            return await client.request(method, f"/v1/admin/{path}", **options)

    return asyncio.run(exchange())


def test_sleep_wake_and_state(triton: Triton) -> None:
    asked = [
        respond(triton, "POST", "sleep", headers=KEY, json={"level": 2}),
        respond(triton, "POST", "sleep", headers=KEY, json={}),
        respond(triton, "POST", "wake", headers=KEY),
        respond(triton, "GET", "state", headers=KEY),
    ]
    assert [response.status_code for response in asked] == [200] * 4
    assert asked[0].json() == {"instances": [{"instance": "diffusion_0", "sleep_level": 2}]}
    assert triton.asked == [("sleep", 2), ("sleep", None), ("wake", None), ("status", None)]


@pytest.mark.parametrize(("path", "method"), ROUTES.items())
@pytest.mark.parametrize("key", [None, "Bearer", "Bearer other", "Basic secret", "secret"])
def test_without_the_key_nothing_is_done(triton: Triton, method: str, path: str, key: str | None) -> None:
    response = respond(triton, method, path, headers={} if key is None else {"authorization": key}, json={"level": 1})
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["code"]) == (401, "authentication_error", "invalid_api_key")
    assert "the administrator's key is needed" in error["message"]
    assert response.headers["www-authenticate"] == "Bearer"
    assert not triton.asked


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"level": 3}, "level: 3 is not one of 1, 2"),
        ({"level": 0}, "level: 0 is not one of 1, 2"),
        ({"level": 10**30}, "is not one of 1, 2"),
        ({"level": "1"}, "level: "),
        ({"levels": 1}, "levels: unknown field"),
    ],
)
def test_another_level_is_refused_by_name(triton: Triton, body: dict[str, Any], message: str) -> None:
    response = respond(triton, "POST", "sleep", headers=KEY, json=body)
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]
    assert not triton.asked


def test_what_the_server_could_not_do_is_503(triton: Triton) -> None:
    for error, message in (
        (Unavailable("diffusion_0: no room", failure_kind=FailureKind.NORMAL), "diffusion_0: no room"),
        (ServerUnreachable("connection refused"), "cannot be reached"),
    ):
        triton.error = error
        response = respond(triton, "POST", "wake", headers=KEY)
        assert (response.status_code, "retry-after" in response.headers) == (503, True)
        assert message in response.json()["error"]["message"]
    assert respond(None, "GET", "state", headers=KEY).status_code == 503


def test_the_document_has_the_routes_with_a_key_of_their_own() -> None:
    paths = json.loads(Frontend(Settings())._document)["paths"]
    operations = [paths[f"/v1/admin/{path}"][method] for path, method in ROUTES.items()]
    assert [operation["security"] for operation in operations] == [[{"admin_key": []}]] * 3
