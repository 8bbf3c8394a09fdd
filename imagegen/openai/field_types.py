"""The types of fields: in JSON they are what they say; in a form, which has texts alone, what the text stands for."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from imagegen.api import limits
from imagegen.openai.errors import shown
from imagegen.openai.form_fields import FormText

LEAST_FLOAT = 2.0**-126
"""The least number of 32 bits above 0."""
_IMAGE = {"type": "string", "minLength": 1}

# JSON's numbers (RFC 8259, 6): Python also takes 1_0, " 1", Arabic digits, inf and thousands of digits.
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,99})", re.ASCII)
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,99})(\.[0-9]{1,99})?([eE][+-]?[0-9]{1,9})?", re.ASCII)


def _integer(value: Any) -> Any:
    if isinstance(value, FormText):
        if not _INTEGER.fullmatch(value):
            raise _other_type(value, "an integer, as in 10")
        return int(value)
    # 1.0 is an integer in JSON Schema, and what some languages write for 1.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _number(value: Any) -> Any:
    if isinstance(value, FormText):
        if not _NUMBER.fullmatch(value):
            raise _other_type(value, "a number, as in 7.5")
        return float(value)
    return value


def _flag(value: Any) -> Any:
    if isinstance(value, FormText):
        if value.lower() not in ("true", "false"):
            raise _other_type(value, "true or false")
        return value.lower() == "true"
    return value


def _other_type(text: str, kind: str) -> PydanticCustomError:
    return PydanticCustomError("other_type", "{text} is not " + kind, {"text": repr(shown(text[:60]))})


Integer = Annotated[int, BeforeValidator(_integer)]
Number = Annotated[float, BeforeValidator(_number)]
Flag = Annotated[bool, BeforeValidator(_flag)]
"""Values that are texts in a form, written as in JSON."""
Seed = Annotated[Integer, WithJsonSchema({"type": "integer", "minimum": 0, "maximum": limits.MAX_SEED})]
ControlScale = Annotated[Number, WithJsonSchema({"type": "number", "minimum": 0, "maximum": limits.MAX_CONTROL_SCALE})]
ControlEnd = Annotated[Number, WithJsonSchema({"type": "number", "minimum": LEAST_FLOAT, "maximum": 1})]
Text = Annotated[str, Field(min_length=1)]
Images = Annotated[
    Text | bytes | list[Text | bytes],
    WithJsonSchema({"anyOf": [_IMAGE, {"type": "array", "items": _IMAGE, "minItems": 1}]}),
]
"""One image or several: URLs, data URLs or base64; in a form files."""
