"""The routes of administrators: the model sleeps, wakes, and says which it does.

The key is Triton's to judge, which has it: a wrong one is refused there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

import imagegen_client
from imagegen.api.administration import SLEEP, STATUS, WAKE
from imagegen.api.limits import SLEEP_LEVELS
from imagegen.openai import errors, schema
from imagegen.openai.auth import bearer_key
from imagegen.openai.body import JSON, read_fields
from imagegen.openai.errors import BadRequest, KeyRefused, NotAvailable, to_api_error
from imagegen.openai.fields import SleepFields, parse_fields
from imagegen.openai.settings import Settings
from imagegen.openai.triton_images import TritonImages
from imagegen_client import ImageGenerationError

_NEEDED = "the administrator's key is needed, as in the header Authorization: Bearer KEY"


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

    async def sleep(self, request: Request) -> Response:
        """Put the model to sleep, once what is being generated is finished; its device's memory is free then."""
        key = _key(request)
        given, _ = await read_fields(request, self._settings, JSON)
        level = parse_fields(SleepFields, given).level
        if level is not None and level not in SLEEP_LEVELS:
            raise BadRequest(f"level: {level} is not one of {', '.join(map(str, SLEEP_LEVELS))}", "level")
        return await self._done(SLEEP, key, level)

    async def wake(self, request: Request) -> Response:
        """Wake the model; it generates then."""
        return await self._done(WAKE, _key(request))

    async def state(self, request: Request) -> Response:
        """Whether the model sleeps, and how deeply."""
        return await self._done(STATUS, _key(request))

    async def _done(self, command: str, key: str, level: int | None = None) -> Response:
        triton = self._triton()
        if triton is None:
            raise NotAvailable("starting")
        try:
            state = await triton.administrate(command, key, level)
        except ImageGenerationError as error:
            if isinstance(error, imagegen_client.InvalidArgument) and error.field == "admin_key":
                raise KeyRefused(f"{_NEEDED}: {error.problem}") from error
            raise to_api_error(error) from error
        return Response(orjson.dumps(state), media_type="application/json")


def _key(request: Request) -> str:
    key = bearer_key(request.headers.get("authorization"))
    if key is None:
        raise KeyRefused(_NEEDED)
    return key
