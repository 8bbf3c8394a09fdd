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
from imagegen.api.administration import MAX_LORA_PATH_CHARACTERS
from imagegen.openai.errors import BadRequest
from imagegen.openai.field_types import LEAST_FLOAT, ControlEnd, ControlScale, Flag, Images, Integer, Number, Seed, Text
from imagegen.openai.lora_field import JSON_SCHEMA
from imagegen.openai.openai_values import RESPONSE_FORMATS, RULES, UNSUPPORTED_FIELDS, accepted_values

_RULES = {tensor.name: tensor.rule for tensor in tensors.INPUTS}
# What the schema shows of limits that a deployment may set otherwise.
_DEFAULT_LIMITS = limits.RequestLimits()
_GRAIN_PX = limits.DEFAULT_GRANULARITY_PX
_SIDE = "|".join(map(str, range(_GRAIN_PX, _DEFAULT_LIMITS.max_side_px + 1, _GRAIN_PX)))
_SIZE = f"^(auto|({_SIDE})x({_SIDE}))$"

Model = TypeVar("Model", bound=BaseModel)


def _tensor(name: str, **schema: Any) -> Any:
    """A field that is passed on to the tensor of this name."""
    return Field(None, description=_RULES[name], json_schema_extra=schema or None)


def _judged(name: str) -> Any:
    """A field of which the table of OpenAI's values says what becomes of it."""
    meanings = dict.fromkeys(rule.meaning for rule in RULES if rule.field == name)
    return Field(None, description="; ".join(meanings), json_schema_extra={"enum": [*accepted_values(name), None]})


class Fields(BaseModel):
    """Refuses fields it does not know."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class OwnFields(Fields):
    """What diffusion models take and OpenAI's API has no name for; at top level or in `nvext`."""

    negative_prompt: str | None = _tensor("negative_prompt", maxLength=limits.MAX_PROMPT_CHARACTERS)
    num_inference_steps: Integer | None = _tensor(
        "num_inference_steps", minimum=1, maximum=_DEFAULT_LIMITS.max_num_inference_steps
    )
    guidance_scale: Number | None = _tensor("guidance_scale", minimum=0, maximum=_DEFAULT_LIMITS.max_guidance_scale)
    seed: Seed | list[Seed] | None = _tensor("seed", minItems=1, maxItems=limits.MAX_N)
    strength: Number | None = _tensor("strength", minimum=LEAST_FLOAT, maximum=1)
    scheduler: str | None = _tensor("scheduler", enum=[*tensors.SCHEDULERS, None])
    step_cache: str | None = _tensor("step_cache", enum=[*tensors.STEP_CACHES, None])
    # Read by `lora_field`, which names the part at fault: pydantic would name each member of a union.
    lora: Any = _tensor("lora", **JSON_SCHEMA)
    timeout_ms: Integer | None = _tensor("timeout_ms", minimum=1, maximum=limits.MAX_TIMEOUT_MS)
    # Of /v1/images/generations alone: on the others the images are the references of a model that edits by them.
    reference_image: Images | None = _tensor("reference_image", maxItems=limits.MAX_REFERENCES)
    control_image: Images | None = _tensor("control_image", maxItems=limits.MAX_CONTROLS)
    control_type: Text | list[Text] | None = _tensor(
        "control_type", minItems=1, maxItems=limits.MAX_CONTROLS, maxLength=limits.MAX_CONTROL_TYPE_CHARACTERS
    )
    control_scale: ControlScale | list[ControlScale] | None = _tensor(
        "control_scale", minItems=1, maxItems=limits.MAX_CONTROLS
    )
    control_end: ControlEnd | list[ControlEnd] | None = _tensor("control_end", minItems=1, maxItems=limits.MAX_CONTROLS)
    control_preprocess: Flag | None = _tensor("control_preprocess")
    return_control: Flag | None = Field(
        None,
        description="true: the response has used_control_images, the control images as they were used; needs"
        " control_image",
    )


class NvExt(OwnFields):
    """The object `nvext`, by which NVIDIA's frontends extend OpenAI's API."""

    annotations: list[str] | None = Field(
        None,
        description='["progress"]: a stream also carries an event for each denoising step',
        json_schema_extra={"items": {"enum": ["progress"]}},
    )


class VariationFields(OwnFields):
    """The fields of /v1/images/variations, without its image."""

    model: str | None = Field(
        None,
        description="an id of /v1/models; that of an adapter is the model with the adapter, before those of lora. May"
        " be left out",
    )
    n: Integer | None = _tensor("n", minimum=1, maximum=limits.MAX_N)
    size: str | None = _tensor("size", pattern=_SIZE)
    response_format: str | None = Field(
        None,
        description="b64_json (the default), or url where results are stored",
        json_schema_extra={"enum": [*RESPONSE_FORMATS, None]},
    )
    output_format: str | None = _tensor(
        "output_format", enum=[*tensors.OUTPUT_FORMATS, *tensors.OTHER_OUTPUT_FORMATS, None]
    )
    output_compression: Integer | None = _tensor("output_compression", minimum=0, maximum=limits.MAX_OUTPUT_COMPRESSION)
    user: str | None = Field(None, description=_RULES["user"], max_length=limits.MAX_USER_CHARACTERS)
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
    background: str | None = _judged("background")
    moderation: str | None = _judged("moderation")
    style: str | None = _judged("style")
    complexity: str | None = _judged("complexity")
    stream: Flag | None = Field(None, description="respond with server-sent events; only with n = 1")
    partial_images: Integer | None = Field(
        None,
        description="previews in a stream",
        json_schema_extra={"minimum": 0, "maximum": limits.MAX_PARTIAL_IMAGES},
    )


class EditFields(GenerationFields):
    """The fields of /v1/images/edits, without its images and mask."""

    input_fidelity: str | None = _judged("input_fidelity")


class ImageReference(Fields):
    """An image of the JSON form."""

    # `file_id` is of OpenAI's files API, which is not here; to know it makes its refusal say so.
    image_url: str | None = Field(
        None, description="http(s) or data URL", json_schema_extra={"pattern": "^(https?://|data:image/)."}
    )
    file_id: str | None = Field(None, description="not supported: there is no files API here")


class EditJson(EditFields):
    """The JSON form of /v1/images/edits."""

    images: list[ImageReference] = Field(min_length=1, json_schema_extra={"maxItems": limits.MAX_IMAGES})
    mask: ImageReference | None = None


class SleepFields(Fields):
    """The fields of /v1/admin/sleep."""

    level: Integer | None = Field(
        None,
        description="1 (the default) keeps the weights in the host's memory, 2 ends the engine's process",
        json_schema_extra={"enum": [*limits.SLEEP_LEVELS, None]},
    )


class LoadLoraFields(Fields):
    """The fields of /v1/load_lora_adapter."""

    lora_name: str = Field(
        description="what requests call the adapter",
        json_schema_extra={"minLength": 1, "maxLength": limits.MAX_LORA_NAME_CHARACTERS},
    )
    lora_path: str = Field(
        description="a file or folder on the server, or a hub id",
        json_schema_extra={"minLength": 1, "maxLength": MAX_LORA_PATH_CHARACTERS},
    )
    load_inplace: Flag | None = Field(
        None, description="false: an adapter is not replaced in its place", json_schema_extra={"enum": [False, None]}
    )


class UnloadLoraFields(Fields):
    """The fields of /v1/unload_lora_adapter."""

    lora_name: str = Field(
        description="what requests call the adapter",
        json_schema_extra={"minLength": 1, "maxLength": limits.MAX_LORA_NAME_CHARACTERS},
    )


def parse_fields(kind: type[Model], given: Mapping[str, Any]) -> Model:
    """The fields of a body.

    Args:
        kind: what the route takes.
        given: the body's values by name; None is as good as absent, and a `FormText` is what it stands for.

    Raises:
        BadRequest: names the first field that is unknown, missing or of a wrong type.
    """
    known = {*kind.model_fields, *UNSUPPORTED_FIELDS}  # others are refused all the same
    present = {name: value for name, value in given.items() if value is not None or name not in known}
    try:
        return kind.model_validate(present, strict=True)
    except ValidationError as error:
        raise _bad_request(error.errors(include_url=False, include_context=False, include_input=False)[0]) from None


def _bad_request(error: ErrorDetails) -> BadRequest:
    """The first thing that pydantic found wrong."""
    name = _name(error["loc"])
    if error["type"] == "extra_forbidden":
        if (reason := UNSUPPORTED_FIELDS.get(name.partition("[")[0])) is not None:
            return BadRequest(f"{name}: cannot be honoured: {reason}", name)
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
