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
        named: commands and what they named.
        error: raised instead.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, int | None]] = []
        self.named: list[tuple[str, dict[str, str]]] = []
        self.error: Exception | None = None

    async def administrate(
        self, command: str, admin_key: str, level: int | None = None, **names: str
    ) -> dict[str, Any]:
        if admin_key != "secret":
            raise InvalidArgument("not the administrator's key", "admin_key")
        if self.error is not None:
            raise self.error
        if names:
            self.named.append((command, names))
        else:
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
            return await client.request(method, path if path[:1] == "/" else f"/v1/admin/{path}", **options)

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


LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
OUTLINE = {"lora_name": "outline", "lora_path": "/adapters/outline.safetensors"}


def test_an_adapter_is_loaded_and_unloaded_in_the_words_of_vllm(triton: Triton) -> None:
    loaded = respond(triton, "POST", LOAD, headers=KEY, json=OUTLINE | {"load_inplace": False})
    assert (loaded.status_code, loaded.text) == (200, "Success: LoRA adapter 'outline' added successfully.")
    assert loaded.headers["content-type"] == "text/plain; charset=utf-8"
    unloaded = respond(triton, "POST", UNLOAD, headers=KEY, json={"lora_name": "outline"})
    assert (unloaded.status_code, unloaded.text) == (200, "Success: LoRA adapter 'outline' removed successfully.")
    assert triton.named == [("load_lora", OUTLINE), ("unload_lora", {"lora_name": "outline"})]


@pytest.mark.parametrize("path", [LOAD, UNLOAD])
@pytest.mark.parametrize("key", [None, "Bearer other"])
def test_without_the_key_no_adapter_is_loaded_or_unloaded(triton: Triton, path: str, key: str | None) -> None:
    body = OUTLINE if path == LOAD else {"lora_name": "outline"}
    response = respond(triton, "POST", path, headers={} if key is None else {"authorization": key}, json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
    assert not triton.named


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (LOAD, {"lora_name": "a"}, "lora_path"),
        (LOAD, {"lora_path": "/a"}, "lora_name"),
        (LOAD, OUTLINE | {"lora_name": 7}, "lora_name"),
        (LOAD, OUTLINE | {"load_inplace": True}, "load_inplace"),
        (LOAD, OUTLINE | {"load_inplace": "no"}, "load_inplace"),
        (LOAD, OUTLINE | {"scale": 1}, "scale"),
        (UNLOAD, {}, "lora_name"),
        (UNLOAD, OUTLINE, "lora_path"),
    ],
)
def test_another_body_is_refused_by_name(triton: Triton, path: str, body: dict[str, Any], param: str) -> None:
    response = respond(triton, "POST", path, headers=KEY, json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert not triton.named


@pytest.mark.parametrize(
    ("path", "problem", "field", "status"),
    [
        (LOAD, "'outline' is taken by /another", "lora_name", 400),
        (LOAD, "/a: no such file", "lora_path", 400),
        (UNLOAD, "'outline' is not loaded", "lora_name", 404),
        (UNLOAD, "257 characters; 1..256 characters are allowed", "lora_name", 400),
        (LOAD, "'outline' is not loaded", "lora_name", 400),
    ],
)
def test_what_the_server_refuses_is_told_in_its_words(
    triton: Triton, path: str, problem: str, field: str, status: int
) -> None:
    triton.error = InvalidArgument(problem, field)
    body = OUTLINE if path == LOAD else {"lora_name": "outline"}
    response = respond(triton, "POST", path, headers=KEY, json=body)
    error = response.json()["error"]
    assert (response.status_code, error["message"], error["param"]) == (status, f"{field}: {problem}", field)


def test_adapters_have_routes_of_the_administrators_key_in_the_document() -> None:
    document = json.loads(Frontend(Settings())._document)
    for path in (LOAD, UNLOAD):
        operation = document["paths"][path]["post"]
        assert operation["security"] == [{"admin_key": []}]
        assert set(operation["responses"]["200"]["content"]) == {"text/plain"}
        assert ("404" in operation["responses"]) == (path == UNLOAD)
