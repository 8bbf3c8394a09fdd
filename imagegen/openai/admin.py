"""The routes of administrators: the model sleeps, wakes, says which it does, and gets and loses LoRA adapters.

The key is Triton's to judge, which has it: a wrong one is refused there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

import imagegen_client
from imagegen.api.administration import LOAD_LORA, SLEEP, STATUS, UNLOAD_LORA, WAKE
from imagegen.api.limits import SLEEP_LEVELS
from imagegen.openai import errors, schema
from imagegen.openai.auth import bearer_key
from imagegen.openai.body import JSON, read_fields
from imagegen.openai.errors import BadRequest, KeyRefused, NotAvailable, NotFound, to_api_error
from imagegen.openai.fields import LoadLoraFields, SleepFields, UnloadLoraFields, parse_fields
from imagegen.openai.settings import Settings
from imagegen.openai.triton_images import TritonImages
from imagegen_client import ImageGenerationError

_NOT_LOADED = "is not loaded"  # in what the server says of an adapter that it has not
_NEEDED = "the administrator's key is needed, as in the header Authorization: Bearer KEY"


_TEXT = {"type": "string"}


class EngineState(BaseModel):
    """One engine: how deeply it sleeps, 0 while it is awake."""

    instance: str
    sleep_level: int


class AdminState(BaseModel):
    """All engines of the server."""

    instances: list[EngineState]


class AdminRoutes:
    """What administrators may ask for.

    Args:
        settings: how a body is read.
        triton: the server; None before the application has started.
    """

    def __init__(self, settings: Settings, triton: Callable[[], TritonImages | None]) -> None:
        self._settings = settings
        self._triton = triton

    def add_to(self, app: FastAPI) -> None:
        """Add the routes."""
        failures = schema.failures(errors.BadRequest, errors.KeyRefused, errors.Failed, errors.NotAvailable)
        body = schema.failures(errors.TooSlow, errors.TooLarge, errors.WrongContentType)
        keyed: dict[str, Any] = {"security": [{"admin_key": []}]}
        described: dict[str, Any] = {"tags": ["admin"], "responses": {200: {"model": AdminState}, **failures}}
        app.add_api_route(
            "/v1/admin/sleep",
            self.sleep,
            methods=["POST"],
            openapi_extra=schema.takes(json="SleepFields") | keyed,
            **described | {"responses": described["responses"] | body},
        )
        app.add_api_route("/v1/admin/wake", self.wake, methods=["POST"], openapi_extra=keyed, **described)
        app.add_api_route("/v1/admin/state", self.state, methods=["GET"], openapi_extra=keyed, **described)
        # Paths, fields and words of vLLM's, whose tools print what comes back.
        done: dict[int | str, Any] = {200: {"description": "Done", "content": {"text/plain": {"schema": _TEXT}}}}
        app.add_api_route(
            "/v1/load_lora_adapter",
            self.load_lora,
            methods=["POST"],
            tags=["admin"],
            response_class=PlainTextResponse,
            responses={**done, **failures, **body},
            openapi_extra=schema.takes(json="LoadLoraFields") | keyed,
        )
        app.add_api_route(
            "/v1/unload_lora_adapter",
            self.unload_lora,
            methods=["POST"],
            tags=["admin"],
            response_class=PlainTextResponse,
            responses={**done, **failures, **body, **schema.failures(errors.NotFound)},
            openapi_extra=schema.takes(json="UnloadLoraFields") | keyed,
        )

    async def sleep(self, request: Request) -> Response:
        """Put the model to sleep, once what is being generated is finished; its device's memory is free then."""
        key = _key(request)
        given, _ = await read_fields(request, self._settings, JSON)
        level = parse_fields(SleepFields, given).level
        if level is not None and level not in SLEEP_LEVELS:
            raise BadRequest(f"level: {level} is not one of {', '.join(map(str, SLEEP_LEVELS))}", "level")
        return _state(await self._done(SLEEP, key, level))

    async def wake(self, request: Request) -> Response:
        """Wake the model; it generates then."""
        return _state(await self._done(WAKE, _key(request)))

    async def state(self, request: Request) -> Response:
        """Whether the model sleeps, and how deeply."""
        return _state(await self._done(STATUS, _key(request)))

    async def load_lora(self, request: Request) -> Response:
        """Offer one more LoRA adapter, by a name that no other one has; it is read and checked first."""
        key = _key(request)
        given, _ = await read_fields(request, self._settings, JSON)
        fields = parse_fields(LoadLoraFields, given)
        if fields.load_inplace:
            problem = "load_inplace: true cannot be honoured; unload the adapter first"
            raise BadRequest(problem, "load_inplace")
        await self._done(LOAD_LORA, key, lora_name=fields.lora_name, lora_path=fields.lora_path)
        return PlainTextResponse(f"Success: LoRA adapter '{fields.lora_name}' added successfully.")

    async def unload_lora(self, request: Request) -> Response:
        """Offer a LoRA adapter no longer; what is being generated with it is finished."""
        key = _key(request)
        given, _ = await read_fields(request, self._settings, JSON)
        fields = parse_fields(UnloadLoraFields, given)
        await self._done(UNLOAD_LORA, key, lora_name=fields.lora_name)
        return PlainTextResponse(f"Success: LoRA adapter '{fields.lora_name}' removed successfully.")

    async def _done(self, command: str, key: str, level: int | None = None, **names: str) -> dict[str, Any]:
        triton = self._triton()
        if triton is None:
            raise NotAvailable("starting")
        try:
            return await triton.administrate(command, key, level, **names)
        except ImageGenerationError as error:
            if isinstance(error, imagegen_client.InvalidArgument) and error.field == "admin_key":
                raise KeyRefused(f"{_NEEDED}: {error.problem}") from error
            if command == UNLOAD_LORA and error.field == "lora_name" and _NOT_LOADED in error.problem:
                raise NotFound(f"lora_name: {error.problem}", "lora_name") from error
            raise to_api_error(error) from error


def _state(state: dict[str, Any]) -> Response:
    return Response(orjson.dumps(state), media_type="application/json")


def _key(request: Request) -> str:
    key = bearer_key(request.headers.get("authorization"))
    if key is None:
        raise KeyRefused(_NEEDED)
    return key
