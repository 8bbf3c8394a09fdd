"""What the application sends for each exception that a route raises."""

from __future__ import annotations

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from imagegen.openai.errors import ApiError, BadRequest, ClientDisconnected, Failed, MethodNotAllowed, NotFound


def add_error_handlers(app: FastAPI) -> None:
    """Make `app` respond with OpenAI's error objects, whoever raised the exception."""
    for kind, handler in (
        (ApiError, _api_error),
        (HTTPException, _routing_error),
        (RequestValidationError, _validation_error),
        (Exception, _unexpected),
    ):
        app.add_exception_handler(kind, handler)


class _NoResponse(Response):
    """For a client that has disconnected."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        return


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    if isinstance(error, ClientDisconnected):
        return _NoResponse()
    return Response(orjson.dumps(error.body()), error.status, error.headers, "application/json")


async def _routing_error(request: Request, error: Exception) -> Response:
    """Starlette's own: no such route, or not by this method."""
    assert isinstance(error, HTTPException)
    if error.status_code == MethodNotAllowed.status:
        allowed = ", ".join(sorted({*(error.headers or {}).get("Allow", "").split(", "), "OPTIONS"} - {""}))
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": allowed})
        return await _api_error(request, MethodNotAllowed(allowed))
    if error.status_code == NotFound.status:
        return await _api_error(request, NotFound(f"there is no route {request.url.path}"))
    return await _api_error(request, BadRequest(str(error.detail)))


async def _validation_error(request: Request, _: Exception) -> Response:
    return await _api_error(request, BadRequest("the request is malformed"))


async def _unexpected(request: Request, _: Exception) -> Response:
    return await _api_error(request, Failed())
