"""The fields of OpenAI's images API and our own: their names, types and documentation, in one schema a route.

Ranges, sizes, formats and images are Triton's to check (`imagegen.api.request`, `image_preprocess`). The schema shows
such rules all the same, with the texts and constants of `imagegen.api.tensors`, for those who read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from imagegen.api import limits, tensors
from imagegen.openai.errors import BadRequest

RESPONSE_FORMATS = ("b64_json", "url")
_RULES = {tensor.name: tensor.rule for tensor in tensors.INPUTS}
NEUTRAL_VALUES = {
    "background": ("auto", "opaque"),
    "moderation": ("auto",),
    "style": ("vivid",),
    "input_fidelity": ("low",),
}
"""Values of OpenAI's fields that change nothing here; others ask for what is not done, and are refused."""

Model = TypeVar("Model", bound=BaseModel)


def _tensor(name: str, **schema: Any) -> Any:
    """A field that is passed on to the tensor of this name."""
    return Field(None, description=_RULES[name], json_schema_extra=schema or None)


def _neutral(name: str) -> Any:
    values = NEUTRAL_VALUES[name]
    meaning = f"only {' or '.join(values)}: other values cannot be honoured"
    return Field(None, description=meaning, json_schema_extra={"enum": [*values, None]})


class Fields(BaseModel):
    """Refuses fields it does not know."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class OwnFields(Fields):
    """What diffusion models take and OpenAI's API has no name for; at top level or in `nvext`."""

    negative_prompt: str | None = _tensor("negative_prompt", maxLength=limits.MAX_PROMPT_CHARACTERS)
    num_inference_steps: int | None = _tensor("num_inference_steps", minimum=1)
    guidance_scale: float | None = _tensor("guidance_scale", minimum=0)
    seed: int | list[int] | None = _tensor("seed")
    strength: float | None = _tensor("strength", exclusiveMinimum=0, maximum=1)
    scheduler: str | None = _tensor("scheduler", enum=[*tensors.SCHEDULERS, None])
    timeout_ms: int | None = _tensor("timeout_ms", minimum=1, maximum=limits.MAX_TIMEOUT_MS)


class NvExt(OwnFields):
    """The object `nvext`, by which NVIDIA's frontends extend OpenAI's API."""

    annotations: list[str] | None = Field(
        None, description='["progress"]: a stream also carries an event for each denoising step'
    )


class VariationFields(OwnFields):
    """The fields of /v1/images/variations, without its image."""

    model: str | None = Field(None, description="the id of /v1/models; may be left out")
    n: int | None = _tensor("n", minimum=1, maximum=limits.MAX_N)
    size: str | None = _tensor("size", pattern="^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$")
    response_format: str | None = Field(
        None,
        description="b64_json (the default), or url where results are stored",
        json_schema_extra={"enum": [*RESPONSE_FORMATS, None]},
    )
    output_format: str | None = _tensor("output_format", enum=[*tensors.OUTPUT_FORMATS, None])
    output_compression: int | None = _tensor("output_compression", minimum=0, maximum=limits.MAX_OUTPUT_COMPRESSION)
    user: str | None = _tensor("user", minLength=1, maxLength=limits.MAX_USER_CHARACTERS)
    safety_identifier: str | None = Field(
        None,
        description="the newer name of `user`; counts before it",
        max_length=limits.MAX_USER_CHARACTERS,
    )
    nvext: NvExt | None = Field(None, description="our own fields, as in NVIDIA's frontends")


class GenerationFields(VariationFields):
    """The fields of /v1/images/generations."""

    prompt: str = Field(
        description=_RULES["prompt"],
        json_schema_extra={"minLength": 1, "maxLength": limits.MAX_PROMPT_CHARACTERS},
    )
    quality: str | None = Field(None, description="auto, or a name that this server maps to a number of steps")
    background: str | None = _neutral("background")
    moderation: str | None = _neutral("moderation")
    style: str | None = _neutral("style")
    stream: bool | None = Field(None, description="respond with server-sent events; only with n = 1")
    partial_images: int | None = Field(
        None,
        description="previews in a stream",
        json_schema_extra={"minimum": 0, "maximum": limits.MAX_PARTIAL_IMAGES},
    )


class EditFields(GenerationFields):
    """The fields of /v1/images/edits, without its images and mask."""

    input_fidelity: str | None = _neutral("input_fidelity")


class ImageReference(Fields):
    """An image of the JSON form."""

    image_url: str | None = Field(None, description="http(s) or data URL")
    file_id: str | None = Field(None, description="not supported: there is no files API here")


class EditJson(EditFields):
    """The JSON form of /v1/images/edits."""

    images: list[ImageReference] = Field(min_length=1)
    mask: ImageReference | None = None


def parse_fields(kind: type[Model], given: Mapping[str, Any], *, strict: bool) -> Model:
    """The fields of a body.

    Args:
        kind: what the route takes.
        given: the body's values by name.
        strict: whether types must be right, as in JSON; the values of a form are texts.

    Raises:
        BadRequest: names the first field that is unknown, missing or of a wrong type.
    """
    try:
        return kind.model_validate(given, strict=strict)
    except ValidationError as error:
        raise _bad_request(error.errors(include_url=False, include_context=False, include_input=False)[0]) from None


def _bad_request(error: ErrorDetails) -> BadRequest:
    """The first thing that pydantic found wrong."""
    name = _name(error["loc"])
    if error["type"] == "extra_forbidden":
        return BadRequest(f"{name}: unknown field", name, code="unknown_field")
    if error["type"] == "missing":
        return BadRequest(f"{name}: missing; it is required", name, code="missing_field")
    return BadRequest(f"{name}: {error['msg'][:1].lower()}{error['msg'][1:]}", name, code="invalid_type")


def _name(location: tuple[int | str, ...]) -> str:
    """The path of a field as one writes it; pydantic's names of a union's members are left out."""
    name = str(location[0])
    nested = location[1:] if name in ("nvext", "images", "mask") else ()
    depth = {"nvext": 1, "images": 2, "mask": 1}.get(name, 0)
    for part in nested[:depth]:
        name += f"[{part}]" if isinstance(part, int) else f".{part}"
    return name
