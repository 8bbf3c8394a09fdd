"""The application: its routes, and what lives as long as it does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from imagegen.api import tensors
from imagegen.openai import errors, schema
from imagegen.openai.admin import AdminRoutes
from imagegen.openai.auth import Keys
from imagegen.openai.body import FORM, JSON, read_fields
from imagegen.openai.concurrency import ConcurrencyLimiter
from imagegen.openai.error_handlers import add_error_handlers
from imagegen.openai.errors import NotAvailable
from imagegen.openai.files import Files
from imagegen.openai.health import Health
from imagegen.openai.http_protocol import ANY_ROUTE
from imagegen.openai.images_request import ImagesRequest, RequestParser
from imagegen.openai.images_response import AppState, ImagesResponse
from imagegen.openai.loop_lag import measure_loop_lag
from imagegen.openai.metrics import FrontendMetrics
from imagegen.openai.middleware import FILES_PREFIX, RequestMiddleware
from imagegen.openai.page import page_response
from imagegen.openai.served_model import ServedModel
from imagegen.openai.settings import Settings
from imagegen.openai.triton_images import TritonImages
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
        self._metrics = FrontendMetrics()
        self._served_model = ServedModel(settings.model_id)
        self._parser = RequestParser(settings, self._served_model)
        self._tokens = TokenCounter.load(settings.tokenizer) if settings.tokenizer else None
        self._page = page_response()
        self._started_s = int(time.time())
        self._limiter = ConcurrencyLimiter(settings.max_concurrent_per_key)
        self._state: AppState | None = None
        self._draining = False
        self._middleware = RequestMiddleware(
            self._routes(), self._metrics, settings.max_body_bytes, settings.body_timeout_s
        )
        self.app: ASGIApp = self._middleware

    @property
    def open_requests(self) -> int:
        """Requests that have no complete response yet."""
        return self._middleware.open_requests

    def drain(self) -> None:
        """Report as not ready and generate nothing new from now on."""
        self._draining = True
        if self._state is not None:
            self._state.health.drain()

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        triton = TritonImages(self._settings.triton_url, self._settings.triton_model, self._served_model)
        health = Health(triton, self._settings, self._metrics)
        self._state = AppState(triton, self._limiter, self._tokens, health, self._metrics)
        tasks = (health.run(), measure_loop_lag(self._metrics.loop_lag))
        background = [asyncio.create_task(task) for task in tasks]
        try:
            yield
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await triton.close()

    def _routes(self) -> FastAPI:
        # No pages that load their script from elsewhere.
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, lifespan=self._lifespan)
        if self._settings.cors_origins:
            app.add_middleware(
                CORSMiddleware,
                allow_origins=self._settings.cors_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["*"],  # OpenAI's client for browsers sends a dozen of its own
                expose_headers=["x-request-id", "retry-after"],
            )
        add_error_handlers(app)
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
            FILES_PREFIX + "{key:path}",
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
        refusals = schema.failures(errors.KeyRefused, errors.NotFound)
        keyed: dict[str, Any] = {"openapi_extra": {"security": [{}, {"key": []}]}, **get}
        app.add_api_route("/v1/models", self.models, responses={200: {"model": schema.Models}, **refusals}, **keyed)
        app.add_api_route(
            "/v1/models/{model:path}", self.model, responses={200: {"model": schema.Model}, **refusals}, **keyed
        )
        AdminRoutes(self._settings, lambda: self._state.triton if self._state else None).add_to(app)
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
        app.add_api_route(ANY_ROUTE, self.any_route, include_in_schema=False, methods=["OPTIONS"])
        self._document = orjson.dumps(schema.openapi(app, self._settings.quality_steps))
        for route in app.routes:
            if isinstance(route, Route) and route.methods and "GET" in route.methods:
                route.methods.add("HEAD")  # not before the document, which need not say it of each route
        return app

    async def generations(self, request: Request) -> Response:
        """Images from text."""
        return self._images_response(request, lambda given, _: self._parser.generation(given), JSON)

    async def edits(self, request: Request) -> Response:
        """Images from text and images: edited by them as references, started from one, or repainted by a mask."""
        return self._images_response(
            request, lambda given, as_json: self._parser.edit(given, as_json=as_json), JSON, FORM, by_offer=True
        )

    async def variations(self, request: Request) -> Response:
        """Images from an image alone."""
        return self._images_response(request, lambda given, _: self._parser.variation(given), FORM)

    async def file(self, key: str) -> Response:
        """A stored image. Its address cannot be guessed, and is the key."""
        return await self._files.response(key)

    async def models(self, request: Request) -> Response:
        """The model that is served, and the adapters that requests may name."""
        self._key(request)
        await self._learn_offer()
        return _json({"object": "list", "data": self._served_model.listed(self._started_s)})

    async def model(self, request: Request, model: str) -> Response:
        """The model that is served, or one of its adapters, by its id."""
        self._key(request)
        await self._learn_offer()
        return _json(self._served_model.retrieved(model, self._started_s))

    async def live(self) -> Response:
        """The process runs."""
        return _json({"status": "live"})

    async def ready(self) -> Response:
        """An image was generated through here, and the engine has lived ever since."""
        problem = self._state.health.problem() if self._state else "starting"
        if problem is not None:
            raise NotAvailable(problem, code="not_ready")
        return _json({"status": "ready"})

    async def metrics(self) -> Response:
        """Prometheus text."""
        return Response(self._metrics.text(), media_type=self._metrics.content_type)

    async def openapi(self) -> Response:
        """The OpenAPI document."""
        return Response(self._document, media_type="application/json")

    async def page(self) -> Response:
        """The web page."""
        return self._page

    async def any_route(self) -> Response:
        """What `OPTIONS *` asks: the methods that any route has."""
        return Response(status_code=204, headers={"Allow": "GET, HEAD, OPTIONS, POST"})

    def _key(self, request: Request) -> str:
        """The name of the request's API key."""
        name = self._keys.name(request.headers.get("authorization"))
        request.state.log_context["key"] = name
        return name

    def _images_response(
        self,
        request: Request,
        parse: Callable[[dict[str, Any], bool], ImagesRequest],
        *accepted: str,
        by_offer: bool = False,
    ) -> Response:
        """The response to a request for images.

        Args:
            request: its body unread.
            parse: takes what `read_fields` gives.
            accepted: content types of the body.
            by_offer: whether `parse` goes by what the served model does, which is asked for where it is not known.
        """
        assert self._state is not None, "requests come after the start"
        if self._draining:
            raise NotAvailable("shutting down")

        async def read() -> ImagesRequest:
            fields, as_json = await read_fields(request, self._settings, *accepted)
            model = fields.get("model")
            is_unknown = isinstance(model, str) and not self._served_model.knows(model)
            if is_unknown or (by_offer and self._served_model.description is None):
                await self._learn_offer()
            images = parse(fields, as_json)
            logged = ("n", "size", "num_inference_steps", *(("prompt",) if self._settings.log_prompts else ()))
            given = {name: images.values[name] for name in logged if images.values.get(name) is not None}
            request.state.log_context.update(given)
            return images

        return ImagesResponse(self._state, read, self._key(request))

    async def _learn_offer(self) -> None:
        if self._state is not None:
            await self._state.triton.learn_offer()


def _json(value: dict[str, Any]) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
