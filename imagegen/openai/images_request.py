"""From OpenAI's fields to one request for Triton.

Only what is OpenAI's is judged here: all other values are passed on, and Triton's refusals are passed back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imagegen.api import tensors
from imagegen.api.limits import MAX_PARTIAL_IMAGES
from imagegen.api.loras import LoraChoice
from imagegen.openai.edit_images import edit_tensors
from imagegen.openai.errors import BadRequest
from imagegen.openai.fields import (
    EditFields,
    EditJson,
    GenerationFields,
    ImageReference,
    OwnFields,
    VariationFields,
    parse_fields,
)
from imagegen.openai.lora_field import lora_tensors, parse_lora
from imagegen.openai.openai_values import JUDGED_FIELDS, RESPONSE_FORMATS, warning_of
from imagegen.openai.served_model import ServedModel
from imagegen.openai.settings import Settings

_PROGRESS = "progress"
_IMAGES = ("reference_image", "control_image")


@dataclass(frozen=True)
class ImagesRequest:
    """A request for images, ready for Triton.

    Attributes:
        kind: the first part of the names of its events: image_generation, image_edit or image_variation.
        values: public tensors by name; None for absent.
        stream: whether the response is a stream of events.
        partial_images: previews in it.
        progress: whether it also carries progress.
        quality: as asked; "auto" when absent.
        background: always opaque, as the images are.
        warnings: about what was accepted and changes nothing, for the response.
        field: the name of the request's images, by which Triton's refusals of `reference_image` call them.
    """

    kind: str
    values: Mapping[str, Any]
    stream: bool = False
    partial_images: int = 0
    progress: bool = False
    quality: str = "auto"
    background: str = "opaque"
    warnings: tuple[str, ...] = ()
    field: str = "reference_image"


class RequestParser:
    """Reads the bodies of the three routes. Each method raises BadRequest, which names the field, or NotFound.

    Args:
        settings: what `quality` and variations stand for.
        served_model: which models a request may name, and what becomes of the images of an edit.
    """

    def __init__(self, settings: Settings, served_model: ServedModel) -> None:
        self._settings = settings
        self._served_model = served_model

    def generation(self, given: Mapping[str, Any]) -> ImagesRequest:
        """From the JSON object of /v1/images/generations."""
        return self._with_prompt("image_generation", parse_fields(GenerationFields, given), {}, "reference_image")

    def edit(self, given: Mapping[str, Any], *, as_json: bool) -> ImagesRequest:
        """From the JSON object or the form of /v1/images/edits."""
        if as_json:
            fields = parse_fields(EditJson, given)
            addresses = [_address(image, f"images[{index}]") for index, image in enumerate(fields.images)]
            mask = None if fields.mask is None else _address(fields.mask, "mask")
            return self._edit(fields, addresses, mask, "images")
        images, upload, rest = _uploads(given)
        return self._edit(parse_fields(EditFields, rest), images, upload, "image")

    def variation(self, given: Mapping[str, Any]) -> ImagesRequest:
        """From the form of /v1/images/variations."""
        images, mask, rest = _uploads(given)
        if mask is not None:
            raise BadRequest("mask: unknown field", "mask", code="unknown_field")
        fields = parse_fields(VariationFields, rest)
        _annotated(fields, False)
        values = self._values(fields)
        _refuse_references(values, "image")
        values |= {"prompt": self._settings.variation_prompt, "image": images}
        if values["strength"] is None:
            values["strength"] = self._settings.variation_strength
        return ImagesRequest("image_variation", values)

    def _edit(self, fields: EditFields, images: list[Any], mask: Any, field: str) -> ImagesRequest:
        described = self._served_model.description
        return self._with_prompt("image_edit", fields, edit_tensors(described, images, mask, field), field)

    def _with_prompt(self, kind: str, fields: GenerationFields, images: dict[str, Any], field: str) -> ImagesRequest:
        values = self._values(fields)
        if images:
            _refuse_references(values, field)
        values |= {"prompt": fields.prompt} | images
        judged = ((name, getattr(fields, name, None)) for name in JUDGED_FIELDS)
        has_references = values["reference_image"] is not None
        warnings = [
            warning_of(name, value, with_references=has_references) for name, value in judged if value is not None
        ]
        quality = "auto" if fields.quality is None else fields.quality
        if quality != "auto":
            if quality not in self._settings.quality_steps:
                known = ", ".join(["auto", *self._settings.quality_steps])
                raise BadRequest(f"quality: {quality!r} is not one of {known}", "quality")
            if values["num_inference_steps"] is None:
                values["num_inference_steps"] = self._settings.quality_steps[quality]
        stream = bool(fields.stream)
        partial_images = fields.partial_images or 0
        if not 0 <= partial_images <= MAX_PARTIAL_IMAGES:
            raise BadRequest(f"partial_images: {partial_images} is outside 0..{MAX_PARTIAL_IMAGES}", "partial_images")
        if partial_images and not stream:
            raise BadRequest(
                f"partial_images: {partial_images} without stream, which alone has previews", "partial_images"
            )
        if stream and fields.n is not None and fields.n > 1:
            raise BadRequest(f"n: {fields.n} with stream; a stream carries 1 image", "n")
        progress = _annotated(fields, stream)
        said = tuple(warning for warning in warnings if warning is not None)
        return ImagesRequest(kind, values, stream, partial_images, progress, quality, warnings=said, field=field)

    def _values(self, fields: VariationFields) -> dict[str, Any]:
        """The public tensors that all three routes share."""
        adapter = self._served_model.lora_of(fields.model)
        response_format = "b64_json" if fields.response_format is None else fields.response_format
        if response_format not in RESPONSE_FORMATS:
            raise BadRequest(
                f"response_format: {response_format!r} is not one of {', '.join(RESPONSE_FORMATS)}", "response_format"
            )
        values: dict[str, Any] = {
            "n": fields.n,
            "size": fields.size,
            "response_format": response_format,
            "output_format": tensors.OTHER_OUTPUT_FORMATS.get(fields.output_format or "", fields.output_format),
            "output_compression": fields.output_compression,
            "user": fields.safety_identifier or fields.user or None,
        }
        for name in OwnFields.model_fields:
            outer, inner = getattr(fields, name), getattr(fields.nvext, name, None)
            if outer is not None and inner is not None:
                raise BadRequest(
                    f"nvext.{name}: given twice, here and as {name}", f"nvext.{name}", code="duplicate_field"
                )
            value = inner if outer is None else outer
            values[name] = [value] if name in _IMAGES and isinstance(value, str | bytes) else value
        field = "lora" if fields.lora is not None else "nvext.lora"
        loras = parse_lora(values.pop("lora"), field)
        return values | lora_tensors(loras if adapter is None else (LoraChoice(adapter), *loras))


def _annotated(fields: VariationFields, stream: bool) -> bool:
    annotations = (fields.nvext.annotations if fields.nvext else None) or []
    for annotation in annotations:
        if annotation != _PROGRESS:
            raise BadRequest(f"nvext.annotations: {annotation!r} is not one of {_PROGRESS}", "nvext.annotations")
    if annotations and not stream:
        raise BadRequest(f"nvext.annotations: {_PROGRESS} without stream, which alone has it", "nvext.annotations")
    return bool(annotations)


def _refuse_references(values: Mapping[str, Any], field: str) -> None:
    if values["reference_image"] is not None:
        problem = f"given with {field}, which are the references of a model that edits by them"
        raise BadRequest(f"reference_image: {problem}", "reference_image")


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
