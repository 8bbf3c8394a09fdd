"""The fields of OpenAI's images API and our own, from parsed JSON or a form to one `Call`.

Only what is OpenAI's is judged here. Ranges, sizes, formats and images are Triton's to check
(`imagegen.request`, `image_preprocess`): the values are passed on and its refusals are passed back. The schema shows
such rules all the same, with the texts and constants of `imagegen.tensors`, for those who read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from imagegen.api import tensors
from imagegen.openai.errors import BadRequest, NotFound
from imagegen.openai.settings import MODEL_ID, Settings

MAX_PARTIAL_IMAGES = 3
PROGRESS = "progress"
_RESPONSE_FORMATS = ("b64_json", "url")
_RULES = {tensor.name: tensor.rule for tensor in tensors.INPUTS}
# Values that change nothing here; others ask for what we do not do.
_NEUTRAL = {"background": ("auto", "opaque"), "moderation": ("auto",), "style": ("vivid",), "input_fidelity": ("low",)}

Model = TypeVar("Model", bound=BaseModel)


def _tensor(name: str, **schema: Any) -> Any:
    """A field that is passed on to the tensor of this name."""
    return Field(None, description=_RULES[name], json_schema_extra=schema or None)


def _neutral(name: str) -> Any:
    values = _NEUTRAL[name]
    meaning = f"only {' or '.join(values)}: other values cannot be honoured"
    return Field(None, description=meaning, json_schema_extra={"enum": [*values, None]})


class Fields(BaseModel):
    """Refuses fields it does not know."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class OwnFields(Fields):
    """What diffusion models take and OpenAI's API has no name for; at top level or in `nvext`."""

    negative_prompt: str | None = _tensor("negative_prompt", maxLength=tensors.MAX_PROMPT_CHARACTERS)
    num_inference_steps: int | None = _tensor("num_inference_steps", minimum=1)
    guidance_scale: float | None = _tensor("guidance_scale", minimum=0)
    seed: int | list[int] | None = _tensor("seed")
    strength: float | None = _tensor("strength", exclusiveMinimum=0, maximum=1)
    scheduler: str | None = _tensor("scheduler", enum=[*tensors.SCHEDULERS, None])
    timeout_ms: int | None = _tensor("timeout_ms", minimum=1, maximum=tensors.MAX_TIMEOUT_MS)


class NvExt(OwnFields):
    """The extension object of NVIDIA's frontends."""

    annotations: list[str] | None = Field(
        None, description='["progress"]: a stream also carries an event for each denoising step'
    )


class VariationFields(OwnFields):
    """The fields of /v1/images/variations, without its image."""

    model: str | None = Field(None, description="the id of /v1/models; may be left out")
    n: int | None = _tensor("n", minimum=1, maximum=tensors.MAX_N)
    size: str | None = _tensor("size", pattern="^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$")
    response_format: str | None = Field(
        None,
        description="b64_json (the default), or url where results are stored",
        json_schema_extra={"enum": [*_RESPONSE_FORMATS, None]},
    )
    output_format: str | None = _tensor("output_format", enum=[*tensors.OUTPUT_FORMATS, None])
    output_compression: int | None = _tensor("output_compression", minimum=0, maximum=100)
    user: str | None = _tensor("user", minLength=1, maxLength=tensors.MAX_USER_CHARACTERS)
    safety_identifier: str | None = Field(
        None,
        description="the newer name of `user`; counts before it",
        max_length=tensors.MAX_USER_CHARACTERS,
    )
    nvext: NvExt | None = Field(None, description="our own fields, as in NVIDIA's frontends")


class GenerationFields(VariationFields):
    """The fields of /v1/images/generations."""

    prompt: str = Field(
        description=_RULES["prompt"],
        json_schema_extra={"minLength": 1, "maxLength": tensors.MAX_PROMPT_CHARACTERS},
    )
    quality: str | None = Field(None, description="auto, or a name that this server maps to a number of steps")
    background: str | None = _neutral("background")
    moderation: str | None = _neutral("moderation")
    style: str | None = _neutral("style")
    stream: bool | None = Field(None, description="answer with server-sent events; only with n = 1")
    partial_images: int | None = Field(
        None,
        description="previews in a stream",
        json_schema_extra={"minimum": 0, "maximum": MAX_PARTIAL_IMAGES},
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


@dataclass(frozen=True)
class Call:
    """A request for images, ready for Triton.

    Attributes:
        kind: the first part of the names of its events: image_generation, image_edit or image_variation.
        values: public tensors by name; None for absent.
        stream: whether the answer is a stream of events.
        partial_images: previews in it.
        progress: whether it also carries progress.
        quality: as asked; "auto" when absent.
        background: always opaque, as the images are.
    """

    kind: str
    values: Mapping[str, Any]
    stream: bool = False
    partial_images: int = 0
    progress: bool = False
    quality: str = "auto"
    background: str = "opaque"


def generation_call(given: Mapping[str, Any], settings: Settings) -> Call:
    """From the JSON object of /v1/images/generations.

    Raises:
        BadRequest: names the field.
        NotFound: the model is not ours.
    """
    fields = _parse(GenerationFields, given, strict=True)
    return _drawn("image_generation", fields, {}, settings)


def edit_call(given: Mapping[str, Any], settings: Settings, *, as_json: bool) -> Call:
    """From the JSON object or the form of /v1/images/edits; raises as `generation_call`."""
    images: list[Any]
    if as_json:
        fields = _parse(EditJson, given, strict=True)
        images = [_address(image, f"images[{index}]") for index, image in enumerate(fields.images)]
        mask = None if fields.mask is None else _address(fields.mask, "mask")
        return _drawn("image_edit", fields, _images(images, mask), settings)
    images, upload, rest = _uploads(given)
    return _drawn("image_edit", _parse(EditFields, rest, strict=False), _images(images, upload), settings)


def variation_call(given: Mapping[str, Any], settings: Settings) -> Call:
    """From the form of /v1/images/variations; raises as `generation_call`."""
    images, mask, rest = _uploads(given)
    if mask is not None:
        raise BadRequest("mask: unknown field", "mask", code="unknown_field")
    fields = _parse(VariationFields, rest, strict=False)
    values = _values(fields, settings) | {"prompt": settings.variation_prompt, "image": images}
    if values["strength"] is None:
        values["strength"] = settings.variation_strength
    return Call("image_variation", values)


def check_model(model: str | None, settings: Settings) -> None:
    """Raise NotFound when `model` is not the one served here."""
    if model is not None and model not in (MODEL_ID, settings.model_id):
        raise NotFound(f"model: {model!r} is not served here; see /v1/models", "model", code="model_not_found")


def _drawn(kind: str, fields: GenerationFields, images: dict[str, Any], settings: Settings) -> Call:
    values = _values(fields, settings) | {"prompt": fields.prompt} | images
    for name, allowed in _NEUTRAL.items():
        value = getattr(fields, name, None)
        if value is not None and value not in allowed:
            raise BadRequest(f"{name}: {value!r} cannot be honoured; only {' or '.join(allowed)}", name)
    quality = "auto" if fields.quality is None else fields.quality
    if quality != "auto":
        if quality not in settings.quality_steps:
            known = ", ".join(["auto", *settings.quality_steps])
            raise BadRequest(f"quality: {quality!r} is not one of {known}", "quality")
        if values["num_inference_steps"] is None:
            values["num_inference_steps"] = settings.quality_steps[quality]
    stream = bool(fields.stream)
    partial_images = fields.partial_images or 0
    if not 0 <= partial_images <= MAX_PARTIAL_IMAGES:
        raise BadRequest(f"partial_images: {partial_images} is outside 0..{MAX_PARTIAL_IMAGES}", "partial_images")
    if partial_images and not stream:
        raise BadRequest(f"partial_images: {partial_images} without stream, which alone has previews", "partial_images")
    if stream and fields.n is not None and fields.n > 1:
        raise BadRequest(f"n: {fields.n} with stream; a stream carries 1 image", "n")
    return Call(kind, values, stream, partial_images, _annotated(fields, stream), quality)


def _annotated(fields: GenerationFields, stream: bool) -> bool:
    annotations = (fields.nvext.annotations if fields.nvext else None) or []
    for annotation in annotations:
        if annotation != PROGRESS:
            raise BadRequest(f"nvext.annotations: {annotation!r} is not one of {PROGRESS}", "nvext.annotations")
    if annotations and not stream:
        raise BadRequest(f"nvext.annotations: {PROGRESS} without stream, which alone has it", "nvext.annotations")
    return bool(annotations)


def _values(fields: VariationFields, settings: Settings) -> dict[str, Any]:
    """The public tensors that all three routes share."""
    check_model(fields.model, settings)
    response_format = "b64_json" if fields.response_format is None else fields.response_format
    if response_format not in _RESPONSE_FORMATS:
        raise BadRequest(
            f"response_format: {response_format!r} is not one of {', '.join(_RESPONSE_FORMATS)}", "response_format"
        )
    values: dict[str, Any] = {
        "n": fields.n,
        "size": fields.size,
        "response_format": response_format,
        "output_format": fields.output_format,
        "output_compression": fields.output_compression,
        "user": fields.safety_identifier or fields.user,
    }
    for name in OwnFields.model_fields:
        outer, inner = getattr(fields, name), getattr(fields.nvext, name, None)
        if outer is not None and inner is not None:
            raise BadRequest(f"nvext.{name}: given twice, here and as {name}", f"nvext.{name}", code="duplicate_field")
        values[name] = inner if outer is None else outer
    return values


def _images(images: list[Any], mask: Any) -> dict[str, Any]:
    return {"image": images, "mask": tensors.MASK_FROM_ALPHA if mask is None else mask}


def _uploads(form: Mapping[str, Any]) -> tuple[list[bytes], bytes | None, dict[str, Any]]:
    """The images and the mask of a form, and its other fields."""
    rest = dict(form)
    images = rest.pop("image", None)
    mask = rest.pop("mask", None)
    if images is None:
        raise BadRequest("image: missing; it is required", "image", code="missing_field")
    return (images if isinstance(images, list) else [images]), mask, rest


def _address(image: ImageReference, name: str) -> str:
    if image.file_id is not None:
        raise BadRequest(f"{name}.file_id: cannot be honoured; give an image_url", f"{name}.file_id")
    if image.image_url is None:
        raise BadRequest(f"{name}.image_url: missing; it is required", f"{name}.image_url", code="missing_field")
    return image.image_url


def _parse(kind: type[Model], given: Mapping[str, Any], *, strict: bool) -> Model:
    try:
        return kind.model_validate(given, strict=strict)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False, include_context=False, include_input=False)[0]) from None


def _refusal(error: ErrorDetails) -> BadRequest:
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
