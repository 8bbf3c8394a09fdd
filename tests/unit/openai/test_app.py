"""The whole application in this process, on a gRPC server in the place of Triton."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from imagegen.openai.app import Frontend
from imagegen.openai.health import Health
from imagegen.openai.images_response import AppState
from imagegen.openai.settings import Settings
from imagegen.openai.triton_images import TritonImages
from tests.unit.client.test_client_description import DESCRIPTION
from tests.unit.openai.grpc_stand_in import Behaviour, completed, completes, triton_stand_in
from tests.unit.openai.running_frontend import arrays_of

GENERATIONS = "/v1/images/generations"
Exchange = Callable[[httpx2.AsyncClient, Frontend], Awaitable[Any]]


def run(
    exchange: Exchange,
    *,
    started: bool = True,
    behave: Behaviour = completes,
    described: Callable[[], bytes] | None = None,
    **settings: Any,
) -> Any:
    """What `exchange` returns; unless the application is `started`, no probe runs before it."""

    async def serve() -> Any:
        async with triton_stand_in(behave, described) as url:
            frontend = Frontend(Settings(triton_url=url, **settings))
            transport = httpx2.ASGITransport(frontend.app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://here") as client:
                if not started:
                    return await exchange(client, frontend)
                async with frontend._lifespan(FastAPI()):
                    while (await client.get("/health/ready")).status_code != 200:
                        await asyncio.sleep(0.01)
                    return await exchange(client, frontend)

    return asyncio.run(asyncio.wait_for(serve(), 60))


async def listed_id(client: httpx2.AsyncClient, _: Frontend) -> str:
    (model,) = (await client.get("/v1/models")).json()["data"]
    return str(model["id"])


def test_before_an_image_is_known_the_model_is_image_generation() -> None:
    assert run(listed_id, started=False) == "image_generation"
    assert run(listed_id, started=False, model_id="some/model") == "some/model"


def test_the_readiness_probe_teaches_the_checkpoints_name() -> None:
    assert run(listed_id) == "a-checkpoint"
    assert run(listed_id, model_id="some/model") == "some/model"


@pytest.mark.parametrize(
    ("model", "status"),
    [(None, 200), ("image_generation", 200), ("a-checkpoint", 200), ("some/model", 200), ("dall-e-3", 404)],
)
def test_models_that_a_request_may_name(model: str | None, status: int) -> None:
    async def exchange(client: httpx2.AsyncClient, _: Frontend) -> list[int]:
        generated = await client.post(GENERATIONS, json={"prompt": "x", "model": model})
        retrieved = await client.get(f"/v1/models/{model}")
        return [generated.status_code, retrieved.status_code if model else status]

    assert run(exchange, model_id="some/model") == [status, status]


class Offer:
    """A server whose adapters change while it runs.

    Attributes:
        loras: those that it has.
        asked: how often it was asked for its description.
        given: the input tensors of the latest request.
    """

    def __init__(self) -> None:
        self.loras: tuple[str, ...] = ()
        self.asked = 0
        self.given: dict[str, Any] = {}

    def described(self) -> bytes:
        self.asked += 1
        description = replace(DESCRIPTION, model="a-checkpoint", tasks={"text-to-image": ()}, takes_loras=True)
        return replace(description, loras=self.loras).to_json()

    async def __call__(self, request: Any, _: Any) -> AsyncIterator[Any]:
        self.given = arrays_of(request)
        yield completed()


def test_an_adapter_that_was_loaded_a_moment_ago_is_listed_and_may_be_named_as_the_model() -> None:
    offer = Offer()

    async def exchange(client: httpx2.AsyncClient, _: Frontend) -> None:
        before = [await client.post(GENERATIONS, json={"prompt": "x", "model": "dusk"})]
        before.append(await client.get("/v1/models/dusk"))
        assert [(one.status_code, one.json()["error"]["code"]) for one in before] == [(404, "model_not_found")] * 2
        offer.loras = ("dusk",)
        generated = await client.post(GENERATIONS, json={"prompt": "x", "model": "dusk", "lora": "outline"})
        assert generated.status_code == 200
        assert offer.given["lora"].tolist() == [b"dusk", b"outline"]
        assert "lora_scale" not in offer.given
        offer.loras = ("dusk", "org/sketch")
        models = (await client.get("/v1/models")).json()["data"]
        assert [model["id"] for model in models] == ["a-checkpoint", "dusk", "org/sketch"]
        assert models[0]["capabilities"]["loras"] == ["dusk", "org/sketch"]
        assert models[1] == {
            "id": "dusk",
            "object": "model",
            "created": models[0]["created"],
            "owned_by": "imagegen",
            "parent": "a-checkpoint",
            "root": "a-checkpoint",
        }
        assert (await client.get("/v1/models/org/sketch")).json() == models[2]
        offer.loras = ()
        assert (await client.get("/v1/models/dusk")).status_code == 404

    run(exchange, behave=offer, described=offer.described)


def test_the_server_is_asked_only_where_a_name_is_not_known() -> None:
    offer = Offer()
    offer.loras = ("dusk",)

    async def exchange(client: httpx2.AsyncClient, frontend: Frontend) -> int:
        await client.get("/v1/models")
        asked = offer.asked
        for model in (None, "a-checkpoint", "dusk"):
            assert (await client.post(GENERATIONS, json={"prompt": "x", "model": model})).status_code == 200
        return offer.asked - asked

    assert run(exchange, behave=offer, described=offer.described) <= 1  # that of the health, every two seconds


def test_an_edit_asks_first_what_its_images_are_where_that_is_not_known() -> None:
    """The first request may come before the first look at the server's health."""
    given: dict[str, Any] = {}
    description = replace(DESCRIPTION, model="a-checkpoint", tasks={"editing": ()}, max_references=2)

    async def behave(request: Any, _: Any) -> AsyncIterator[Any]:
        given.update(arrays_of(request))
        yield completed()

    async def exchange(client: httpx2.AsyncClient, frontend: Frontend) -> None:
        triton = TritonImages(frontend._settings.triton_url, "m", frontend._served_model)
        health = Health(triton, frontend._settings, frontend._metrics)
        frontend._state = AppState(triton, frontend._limiter, None, health, frontend._metrics)
        sent = await client.post("/v1/images/edits", data={"prompt": "x"}, files={"image[]": ("a.png", b"a")})
        assert sent.status_code == 200
        await triton.close()

    run(exchange, started=False, behave=behave, described=description.to_json)
    assert given["reference_image"].tolist() == [b"a"]
    assert "mask" not in given


def test_what_is_known_is_listed_where_the_server_does_not_tell() -> None:
    offer = Offer()
    offer.loras = ("dusk",)

    async def exchange(client: httpx2.AsyncClient, frontend: Frontend) -> list[str]:
        assert frontend._state is not None
        frontend._state.triton._url = "127.0.0.1:1"
        frontend._state.triton.reconnect()
        return [model["id"] for model in (await client.get("/v1/models")).json()["data"]]

    assert run(exchange, behave=offer, described=offer.described) == ["a-checkpoint", "dusk"]


def test_an_image_and_its_log_line(caplog: pytest.LogCaptureFixture) -> None:
    async def exchange(client: httpx2.AsyncClient, _: Frontend) -> httpx2.Response:
        with caplog.at_level("INFO"):
            return await client.post(GENERATIONS, json={"prompt": "a secret wish", "n": 1})

    response = run(exchange)
    assert response.json()["data"] == [{"b64_json": "QUJD", "seed": 7}]
    (line,) = (record.__dict__ for record in caplog.records if record.__dict__.get("path") == GENERATIONS)
    assert (line["n"], line["key"], line["status"]) == (1, "anonymous", 200)
    assert "prompt" not in line


def test_prompts_are_logged_where_that_is_wanted(caplog: pytest.LogCaptureFixture) -> None:
    async def exchange(client: httpx2.AsyncClient, _: Frontend) -> httpx2.Response:
        with caplog.at_level("INFO"):
            return await client.post(GENERATIONS, json={"prompt": "a wish"})

    run(exchange, log_prompts=True)
    assert "a wish" in [record.__dict__.get("prompt") for record in caplog.records]


def test_while_it_drains_it_is_live_but_takes_nothing_new() -> None:
    async def exchange(client: httpx2.AsyncClient, frontend: Frontend) -> list[int]:
        frontend.drain()
        responses = [await client.get(path) for path in ("/health/live", "/health/ready", "/metrics")]
        responses.append(await client.post(GENERATIONS, json={"prompt": "x"}))
        return [response.status_code for response in responses]

    assert run(exchange) == [200, 503, 200, 503]


def test_before_the_start_it_is_not_ready() -> None:
    async def exchange(client: httpx2.AsyncClient, _: Frontend) -> httpx2.Response:
        return await client.get("/health/ready")

    response = run(exchange, started=False)
    assert (response.status_code, response.json()["error"]["message"]) == (503, "starting")


def test_keys_guard_images_and_models_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async def exchange(client: httpx2.AsyncClient, _: Frontend) -> list[int]:
        paths = ("/v1/models", "/v1/models/image_generation", "/", "/openapi.json", "/metrics", "/health/live")
        responses = [await client.get(path) for path in paths]
        responses.append(await client.post(GENERATIONS, json={"prompt": "x"}))
        headers = {"Authorization": "Bearer sk-1"}
        responses.append(await client.post(GENERATIONS, json={"prompt": "x"}, headers=headers))
        return [response.status_code for response in responses]

    monkeypatch.setenv("IMAGEGEN_API_KEYS", "alice:sk-1")
    assert run(exchange) == [401, 401, 200, 200, 200, 200, 401, 200]
