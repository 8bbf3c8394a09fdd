"""The field `lora`: the adapters of a request, as a name, an object with a scale, or a list of both.

    "lora": "outline"
    "lora": {"name": "outline", "scale": 0.8}
    "lora": ["outline", {"name": "dusk", "scale": 0.5}]

In a form a text is a name, unless it begins as JSON of one of these does.
"""

from __future__ import annotations

from typing import Any

from imagegen.api.limits import MAX_LORA_NAME_CHARACTERS, MAX_LORA_SCALE, RequestLimits
from imagegen.api.loras import LoraChoice
from imagegen.openai.errors import BadRequest
from imagegen.openai.form_fields import FormText
from imagegen.openai.json_body import parse_value

_FORMS = "a name, an object of name and scale, or a list of them"
_NAME: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": MAX_LORA_NAME_CHARACTERS}
_SCALE: dict[str, Any] = {"type": ["number", "null"], "minimum": -MAX_LORA_SCALE, "maximum": MAX_LORA_SCALE}
_OBJECT: dict[str, Any] = {
    "type": "object",
    "properties": {"name": _NAME, "scale": _SCALE},
    "required": ["name"],
    "additionalProperties": False,
}


def _list(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item, "maxItems": RequestLimits().max_loras_per_request}


JSON_SCHEMA: dict[str, Any] = {
    "anyOf": [_NAME, _OBJECT, _list({"anyOf": [_NAME, _OBJECT]}) | {"uniqueItems": True}, {"type": "null"}]
}
"""What the field is in JSON, for the OpenAPI document."""
_FORM_NAME = _NAME | {"pattern": r'^[^\[{"]'}
FORM_SCHEMA: dict[str, Any] = {"anyOf": [_FORM_NAME, _list(_FORM_NAME)]}
"""What it is in a form, where a text may be the JSON of these forms too."""


def parse_lora(value: Any, field: str) -> tuple[LoraChoice, ...]:
    """The adapters, in their order. Whether they are on offer is the server's to say.

    Args:
        value: as the body has it; None for none.
        field: the field's name, `lora` or `nvext.lora`.

    Raises:
        BadRequest: names the part that is of another form.
    """
    value = _of_form(value, field)
    if value is None:
        return ()
    if not isinstance(value, list):
        return (_choice(value, field),)
    named = ((item, f"{field}[{index}]") for index, item in enumerate(value))
    return tuple(_choice(_of_form(item, name), name) for item, name in named)


def lora_tensors(loras: tuple[LoraChoice, ...]) -> dict[str, list[str] | list[float]]:
    """The tensors that say the same; none for none, and no scales where all are 1."""
    tensors: dict[str, list[str] | list[float]] = {}
    if loras:
        tensors["lora"] = [lora.name for lora in loras]
    if any(lora.scale != 1.0 for lora in loras):
        tensors["lora_scale"] = [lora.scale for lora in loras]
    return tensors


def _of_form(value: Any, field: str) -> Any:
    """What a text of a form stands for; anything else as it is."""
    if not isinstance(value, FormText):
        return value
    return parse_value(value.encode(), field) if value.startswith(("{", "[", '"')) else str(value)


def _choice(value: Any, field: str) -> LoraChoice:
    if isinstance(value, str):
        return LoraChoice(value)
    if not isinstance(value, dict):
        raise BadRequest(f"{field}: {type(value).__name__}; it is {_FORMS}", field, code="invalid_type")
    for key in value:
        if key not in _OBJECT["properties"]:
            problem = "requests name adapters that the server offers; paths are for the administrator"
            raise BadRequest(f"{field}.{key}: unknown field: {problem}", f"{field}.{key}", code="unknown_field")
    name, scale = value.get("name"), value.get("scale")
    if name is None:
        raise BadRequest(f"{field}.name: missing; it is required", f"{field}.name", code="missing_field")
    if not isinstance(name, str):
        raise BadRequest(f"{field}.name: {type(name).__name__}; it is a text", f"{field}.name", code="invalid_type")
    return LoraChoice(name, 1.0 if scale is None else _scale(scale, f"{field}.scale"))


def _scale(scale: Any, field: str) -> float:
    if isinstance(scale, bool) or not isinstance(scale, int | float):
        raise BadRequest(f"{field}: {type(scale).__name__}; it is a number", field, code="invalid_type")
    if not -MAX_LORA_SCALE <= scale <= MAX_LORA_SCALE:  # nor is NaN
        raise BadRequest(f"{field}: outside the allowed range, {-MAX_LORA_SCALE:g}..{MAX_LORA_SCALE:g}", field)
    return float(scale)
