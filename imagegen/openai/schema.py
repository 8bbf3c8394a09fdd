"""The OpenAPI document: what each route takes, and every status it responds with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict

from imagegen import __version__
from imagegen.api import limits
from imagegen.openai import errors, schema_rules, sse
from imagegen.openai.body import FORM, JSON
from imagegen.openai.errors import ApiError
from imagegen.openai.fields import (
    EditFields,
    EditJson,
    GenerationFields,
    LoadLoraFields,
    SleepFields,
    UnloadLoraFields,
    VariationFields,
)
from imagegen.openai.lora_field import FORM_SCHEMA

_BODIES = (GenerationFields, EditJson, EditFields, VariationFields, SleepFields, LoadLoraFields, UnloadLoraFields)
_FILE = {"type": "string", "format": "binary", "description": "the file's bytes: PNG, JPEG or WebP"}
# Without an image there is nothing to move away from, without a stream no progress; the images of an edit are the
# references of a model that takes some.
_NOT_OF_ROUTE = {
    "GenerationFields": ("strength",),
    "EditJson": ("reference_image",),
    "EditFields": ("reference_image",),
    "VariationFields": ("annotations", "reference_image"),
}
_SSE = {"type": "object", "properties": {"event": {"type": "string"}, "data": {"type": "string"}}, "required": ["data"]}
_REFERENCE = "#/components/schemas/{model}"


class ErrorDetail(BaseModel):
    """What went wrong: `param` names the field."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every error."""

    error: ErrorDetail


class ImageObject(BaseModel):
    """One image: base64 text or an address, and the seed that generates it again."""

    b64_json: str | None = None
    url: str | None = None
    seed: int


class InputTokens(BaseModel):
    """Tokens of the prompt and of the input images."""

    text_tokens: int
    image_tokens: int


class ControlImageObject(BaseModel):
    """One control image as it was used: base64 text or an address."""

    b64_json: str | None = None
    url: str | None = None


class Usage(BaseModel):
    """Text tokens of the prompt; image tokens: one for each 16x16 pixels generated."""

    input_tokens: int
    input_tokens_details: InputTokens
    output_tokens: int
    output_tokens_details: InputTokens
    total_tokens: int


class ImagesObject(BaseModel):
    """The response to a request without stream."""

    model_config = ConfigDict(extra="allow")
    created: int
    data: list[ImageObject]
    size: str
    quality: str
    background: str
    output_format: str
    usage: Usage | None = None
    metadata: dict[str, Any]
    used_control_images: list[ControlImageObject] | None = None


class Capabilities(BaseModel):
    """What the model does: its tasks, each with the optional inputs that it takes, its sizes in pixels, schedulers,
    adapters, and how many references and which controls a request may have."""

    tasks: dict[str, list[str]]
    native_size: str
    granularity_px: int
    upscaling: int
    schedulers: list[str]
    scheduler: str
    previews: bool
    takes_loras: bool
    loras: list[str]
    max_references: int
    least_reference_px: int
    control_types: list[str]
    max_controls: int
    has_control_end: bool
    control_preprocessors: list[str]


class Model(BaseModel):
    """A model or an adapter, as OpenAI lists it; `capabilities` of the model is null until it is known.

    An adapter has the model that it changes as `parent` and `root`, and no capabilities of its own.
    """

    id: str
    object: str
    created: int
    owned_by: str
    capabilities: Capabilities | None = None
    parent: str | None = None
    root: str | None = None


class Models(BaseModel):
    """The list of all models."""

    object: str
    data: list[Model]


class Status(BaseModel):
    """The body of a health route."""

    status: str


def failures(*kinds: type[ApiError]) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` for errors."""
    described: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        headers = {}
        if kind in (errors.Busy, errors.NotAvailable):
            headers = {"Retry-After": {"schema": {"type": "string"}, "description": "seconds"}}
        elif kind is errors.WrongContentType:
            said = ("Accept-Post", "Accept-Encoding")
            headers = {name: {"schema": {"type": "string"}, "description": "what is taken"} for name in said}
        description = (kind.__doc__ or "").partition("\n")[0]
        described[kind.status] = {"model": ErrorBody, "description": description, "headers": headers}
    return described


IMAGES_FAILURES = failures(
    errors.BadRequest,
    errors.KeyRefused,
    errors.NotFound,
    errors.TooSlow,
    errors.TooLarge,
    errors.WrongContentType,
    errors.Busy,
    errors.Cancelled,
    errors.Failed,
    errors.NotAvailable,
)


def images_or_events(*, stream: bool) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` of a route that generates images."""
    whole: dict[str, Any] = {"model": ImagesObject, "description": "The images"}
    if stream:
        whole["description"] = "The images; with `stream`, server-sent events"
        whole["content"] = {sse.CONTENT_TYPE.partition(";")[0]: {"schema": _SSE}}
    return {200: whole, **IMAGES_FAILURES}


def takes(*, json: str | None = None, form: str | None = None) -> dict[str, Any]:
    """FastAPI's `openapi_extra` for a body that is read by hand: the name of the schema by content type."""
    content = {
        kind: {"schema": {"$ref": _REFERENCE.format(model=name)}} for kind, name in ((JSON, json), (FORM, form)) if name
    }
    return {"requestBody": {"required": True, "content": content}, "security": [{}, {"key": []}]}


def openapi(app: FastAPI, qualities: Iterable[str]) -> dict[str, Any]:
    """The document.

    Args:
        app: its routes.
        qualities: the values of `quality`.
    """
    document = get_openapi(
        title="Images", version=__version__, description="OpenAI's images API on NVIDIA Triton.", routes=app.routes
    )
    schemas = document["components"]["schemas"]
    for body in _BODIES:
        schema = body.model_json_schema(ref_template=_REFERENCE)
        schemas |= schema.pop("$defs", {})
        schemas[body.__name__] = schema
    schemas["ImageReference"]["required"] = ["image_url"]
    schemas["ImageReference"]["properties"] |= {
        "image_url": _only_text(schemas["ImageReference"]["properties"]["image_url"]),
        "file_id": {"type": "null", "description": "not supported: there is no files API here"},
    }
    for kind, fields in _NOT_OF_ROUTE.items():
        schemas[f"{kind}NvExt"] = _without(fields, schemas["NvExt"])
        schemas[kind] = _without(fields, schemas[kind])
        _refer_to(schemas[kind]["properties"]["nvext"], f"{kind}NvExt")
    del schemas["NvExt"]
    schemas[schema_rules.NAME] = schema_rules.request_rules()
    for body in (GenerationFields, EditJson):
        schemas[body.__name__]["allOf"] = [{"$ref": _REFERENCE.format(model=schema_rules.NAME)}]
    for body in _BODIES:
        if "quality" in schemas[body.__name__]["properties"]:
            schemas[body.__name__]["properties"]["quality"]["enum"] = ["auto", *qualities, None]
    for name, mask in (("EditFields", True), ("VariationFields", False)):
        schemas[name] = _as_form(schemas[name])
        schemas[name]["properties"]["lora"] |= _as_form(FORM_SCHEMA)
        _add_files(schemas[name], mask=mask)
    bearer = {"type": "http", "scheme": "bearer"}
    document["components"]["securitySchemes"] = {"key": bearer, "admin_key": bearer}
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)  # FastAPI's own, which no route of ours responds with
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document


def _without(fields: Iterable[str], schema: dict[str, Any]) -> dict[str, Any]:
    return schema | {"properties": {name: value for name, value in schema["properties"].items() if name not in fields}}


def _only_text(schema: dict[str, Any]) -> dict[str, Any]:
    """A text that may not be null."""
    return {name: value for name, value in schema.items() if name not in ("anyOf", "default")} | {"type": "string"}


def _refer_to(schema: dict[str, Any], model: str) -> None:
    """Let an optional object be of another model."""
    schema["anyOf"] = [{"$ref": _REFERENCE.format(model=model)}, {"type": "null"}]


def _as_form(schema: Any) -> Any:
    """The schema of a form, which knows no null; a text that is chosen from some may be empty instead."""
    if isinstance(schema, list):
        return [_as_form("" if item is None else item) for item in schema if item != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    form = {name: _as_form(value) for name, value in schema.items() if name != "default" or value is not None}
    if "pattern" in form:
        form["pattern"] = f"^$|{form['pattern']}"
    if len(form.get("anyOf", ())) == 1:
        (only,) = form.pop("anyOf")
        form = only | form
    return form


def _add_files(schema: dict[str, Any], *, mask: bool) -> None:
    """The files of a form."""
    several = {"type": "array", "items": _FILE, "minItems": 1}
    schema["properties"]["image"] = _FILE
    schema["properties"]["control_image"] |= several
    schema["properties"]["control_image"].pop("anyOf")
    schema["properties"]["image[]"] = several | {"maxItems": limits.MAX_IMAGES}
    schema["anyOf"] = [{"required": ["image"]}, {"required": ["image[]"]}]
    if mask:
        schema["properties"]["mask"] = _FILE
