"""The application: its routes, and what lives as long as it does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from imagegen.api import tensors
from imagegen.openai import errors, schema
from imagegen.openai.auth import Keys
from imagegen.openai.body import FORM, JSON, read_fields
from imagegen.openai.concurrency import Places
from imagegen.openai.errors import ApiError, BadRequest, ClientGone, Failed, MethodNotAllowed, NotAvailable, NotFound
from imagegen.openai.fields import Call, check_model, edit_call, generation_call, variation_call
from imagegen.openai.files import Files
from imagegen.openai.health import Health
from imagegen.openai.images_response import Drawing, Studio
from imagegen.openai.metrics import Measures
from imagegen.openai.middleware import Edge
from imagegen.openai.page import page_response
from imagegen.openai.settings import Settings
from imagegen.openai.triton_call import TritonImages
from imagegen.openai.usage import TokenCounter


class Frontend:
    """All parts of one running frontend; `app` is the ASGI application.

    Args:
        settings: of the deployment.

    Raises:
        OSError, ValueError: the key file cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keys = Keys.load(settings.keys_file)
        self._files = Files(settings.files_folder)
        self._measures = Measures()
        self._tokens = TokenCounter.load(settings.tokenizer) if settings.tokenizer else None
        self._page = page_response()
        self._started_s = int(time.time())
        self._places = Places(settings.max_concurrent_per_key)
        self._studio: Studio | None = None
        self._draining = False
        self._edge = Edge(self._routes(), self._measures, settings.max_body_bytes, settings.body_timeout_s)
        self.app: ASGIApp = self._edge

    @property
    def open_requests(self) -> int:
        """Requests that have no complete answer yet."""
        return self._edge.open_requests

    def drain(self) -> None:
        """Report as not ready and draw nothing new from now on."""
        self._draining = True
        if self._studio is not None:
            self._studio.health.drain()

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        triton = TritonImages(self._settings.triton_url, self._settings.triton_model)
        health = Health(triton, self._settings, self._measures)
        self._studio = Studio(triton, self._places, self._tokens, health, self._measures)
        background = [asyncio.create_task(task) for task in (health.run(), health.watch_loop())]
        try:
            yield
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await triton.close()

    def _routes(self) -> FastAPI:
        # No pages that load their script from elsewhere.
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=self._lifespan)
        if self._settings.cors_origins:
            app.add_middleware(
                CORSMiddleware,
                allow_origins=self._settings.cors_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["*"],  # OpenAI's client for browsers sends a dozen of its own
                expose_headers=["x-request-id", "retry-after"],
            )
        for kind, handler in (
            (ApiError, _answer),
            (HTTPException, _routing_error),
            (RequestValidationError, _validation_error),
            (Exception, _unexpected),
        ):
            app.add_exception_handler(kind, handler)
        post: dict[str, Any] = {"methods": ["POST"], "tags": ["images"]}
        get: dict[str, Any] = {"methods": ["GET"]}
        app.add_api_route(
            "/v1/images/generations",
            self.generations,
            responses=schema.images_or_events(stream=True),
            openapi_extra=schema.takes(json="GenerationFields"),
            **post,
        )
        app.add_api_route(
            "/v1/images/edits",
            self.edits,
            responses=schema.images_or_events(stream=True),
            openapi_extra=schema.takes(json="EditJson", form="EditFields"),
            **post,
        )
        app.add_api_route(
            "/v1/images/variations",
            self.variations,
            responses=schema.images_or_events(stream=False),
            openapi_extra=schema.takes(form="VariationFields"),
            **post,
        )
        app.add_api_route(
            "/v1/images/files/{key:path}",
            self.file,
            **get,
            tags=["images"],
            response_class=Response,
            responses={
                200: {
                    "description": "The image",
                    "content": {f"image/{kind}": {} for kind in tensors.OUTPUT_FORMATS},
                },
                206: {"description": "A part of it, as asked for by Range"},
                416: {"description": "Range is not within the image"},
                **schema.failures(errors.BadRequest, errors.NotFound),
            },
        )
        app.add_api_route("/v1/images/files/{key:path}", self.file, methods=["HEAD"], include_in_schema=False)
        refusals = schema.failures(errors.KeyRefused, errors.NotFound)
        keyed: dict[str, Any] = {"openapi_extra": {"security": [{}, {"key": []}]}, **get}
        app.add_api_route("/v1/models", self.models, responses={200: {"model": schema.Models}, **refusals}, **keyed)
        app.add_api_route(
            "/v1/models/{model:path}", self.model, responses={200: {"model": schema.Model}, **refusals}, **keyed
        )
        app.add_api_route("/health/live", self.live, responses={200: {"model": schema.Status}}, **get)
        app.add_api_route(
            "/health/ready",
            self.ready,
            responses={200: {"model": schema.Status}, **schema.failures(errors.NotAvailable)},
            **get,
        )
        app.add_api_route("/metrics", self.metrics, include_in_schema=False, **get)
        app.add_api_route("/openapi.json", self.openapi, include_in_schema=False, **get)
        app.add_api_route("/", self.page, include_in_schema=False, **get)
        self._document = orjson.dumps(schema.openapi(app))
        return app

    async def generations(self, request: Request) -> Response:
        """Images from text."""
        return self._drawing(request, lambda given, _: generation_call(given, self._settings), JSON)

    async def edits(self, request: Request) -> Response:
        """Images from text and images: repainted where a mask says so."""
        return self._drawing(
            request, lambda given, as_json: edit_call(given, self._settings, as_json=as_json), JSON, FORM
        )

    async def variations(self, request: Request) -> Response:
        """Images from an image alone."""
        return self._drawing(request, lambda given, _: variation_call(given, self._settings), FORM)

    async def file(self, key: str) -> Response:
        """A stored image. Its address cannot be guessed, and is the key."""
        return await self._files.response(key)

    async def models(self, request: Request) -> Response:
        """The model that is served."""
        self._key(request)
        return _json({"object": "list", "data": [self._model()]})

    async def model(self, request: Request, model: str) -> Response:
        """The model that is served, by its id."""
        self._key(request)
        check_model(model, self._settings)
        return _json(self._model())

    async def live(self) -> Response:
        """The process runs."""
        return _json({"status": "live"})

    async def ready(self) -> Response:
        """An image was really drawn lately."""
        problem = self._studio.health.problem() if self._studio else "starting"
        if problem is not None:
            raise NotAvailable(problem, code="not_ready")
        return _json({"status": "ready"})

    async def metrics(self) -> Response:
        """Prometheus text."""
        return Response(self._measures.text(), media_type=self._measures.content_type)

    async def openapi(self) -> Response:
        """The OpenAPI document."""
        return Response(self._document, media_type="application/json")

    async def page(self) -> Response:
        """The web page."""
        return self._page

    def _key(self, request: Request) -> str:
        """The name of the request's API key."""
        name = self._keys.name(request.headers.get("authorization"))
        request.state.facts["key"] = name
        return name

    def _drawing(
        self, request: Request, understand: Callable[[dict[str, Any], bool], Call], *accepted: str
    ) -> Response:
        """A drawing of what a body of one of the `accepted` types asks; `understand` takes what `read_fields` gives."""
        assert self._studio is not None, "requests come after the start"
        if self._draining:
            raise NotAvailable("shutting down")

        async def read() -> Call:
            call = understand(*await read_fields(request, self._settings, *accepted))
            named = ("n", "size", "num_inference_steps", *(("prompt",) if self._settings.log_prompts else ()))
            noted = {name: call.values[name] for name in named if call.values.get(name) is not None}
            request.state.facts.update(noted)
            return call

        return Drawing(self._studio, read, self._key(request))

    def _model(self) -> dict[str, Any]:
        return {
            "id": self._settings.model_id,
            "object": "model",
            "created": self._started_s,
            "owned_by": "imagegen",
        }


class _NoAnswer(Response):
    """For a client that has left."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        return


def _json(value: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status, headers, "application/json")


async def _answer(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _NoAnswer() if isinstance(error, ClientGone) else _json(error.body(), error.status, error.headers)


async def _routing_error(request: Request, error: Exception) -> Response:
    """Starlette's own: no such route, or not by this method."""
    assert isinstance(error, HTTPException)
    if error.status_code == MethodNotAllowed.status:
        return await _answer(request, MethodNotAllowed((error.headers or {}).get("Allow", "other methods")))
    if error.status_code == NotFound.status:
        return await _answer(request, NotFound(f"there is no route {request.url.path}"))
    return await _answer(request, BadRequest(str(error.detail)))


async def _validation_error(request: Request, _: Exception) -> Response:
    return await _answer(request, BadRequest("the request is malformed"))


async def _unexpected(request: Request, _: Exception) -> Response:
    return await _answer(request, Failed())
