"""How settings are typed: what every group of them has in common, and how a text becomes a value.

A parameter of a `config.pbtxt` is a text. Numbers and words need no more than their own type; the types here are for
what is written in a way of its own: `true`, or `1024,768`.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict

SETTINGS_CONFIG = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

_TRUE_FALSE = {"true": True, "false": False}


def _true_or_false(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.lower() not in _TRUE_FALSE:
        raise ValueError("it is true or false")
    return _TRUE_FALSE[value.lower()]


def _split(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


TrueOrFalse = Annotated[bool, BeforeValidator(_true_or_false)]
CommaSeparated = BeforeValidator(_split)
"""For a tuple: its texts are separated by commas, and blanks around them do not count."""
