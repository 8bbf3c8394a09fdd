"""Reads the `parameters` of a `config.pbtxt` into one typed, frozen dataclass per model."""

from __future__ import annotations

import dataclasses
import json
import types
from typing import Any, TypeVar, get_type_hints

Settings = TypeVar("Settings")

_TRUE_FALSE = {"true": True, "false": False}


def read_parameters(model_config: str, settings_type: type[Settings]) -> Settings:
    """Build `settings_type` from the parameters of a model configuration.

    Args:
        model_config: the configuration as JSON, as Triton passes it to `initialize`.
        settings_type: a dataclass with defaults whose fields are str, int, float, bool, or tuples of int
            or str (written comma-separated); where None is allowed too, an empty text means None.

    Raises:
        ValueError: a parameter is unknown, or its text does not fit the field's type. The message names it.
    """
    parameters = json.loads(model_config).get("parameters", {})
    kinds = get_type_hints(settings_type)
    names = {field.name for field in dataclasses.fields(settings_type)}  # type: ignore[arg-type]
    values = {}
    for name, parameter in parameters.items():
        if name.isupper():  # the python backend's own, such as EXECUTION_ENV_PATH
            continue
        if name not in names:
            raise ValueError(f"parameter {name!r} is unknown; parameters are {', '.join(sorted(names))}")
        text = parameter["string_value"]
        try:
            values[name] = _convert(text.strip(), kinds[name])
        except (KeyError, ValueError):
            raise ValueError(f"parameter {name}: {text!r} is not a valid {_type_name(kinds[name])}") from None
    return settings_type(**values)


def _convert(text: str, kind: Any) -> Any:
    if isinstance(kind, types.UnionType):
        kind = next(member for member in kind.__args__ if member is not type(None))
        return _convert(text, kind) if text else None
    if kind is bool:
        return _TRUE_FALSE[text.lower()]
    if kind == tuple[int, ...]:
        return tuple(int(part) for part in text.split(",") if part.strip())
    if kind == tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return kind(text)


def _type_name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)
