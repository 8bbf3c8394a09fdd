"""Reads the `parameters` of a `config.pbtxt` into one typed, frozen object per model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Settings = TypeVar("Settings", bound=BaseModel)


def read_parameters(model_config: str, settings_type: type[Settings]) -> Settings:
    """Build `settings_type` from the parameters of a model configuration.

    Args:
        model_config: the configuration as JSON, as Triton passes it to `initialize`.
        settings_type: a model with defaults whose fields can be read from texts (see `imagegen.api.parameter_types`).
            A parameter of no text means the default, as if it were left out.

    Raises:
        ValueError: a parameter is unknown, or its text is not allowed. The message names it and what is allowed.
    """
    parameters = json.loads(model_config).get("parameters", {})
    texts = {
        name: parameter["string_value"].strip()
        for name, parameter in parameters.items()
        if not name.isupper()  # the python backend's own, such as EXECUTION_ENV_PATH
        and (parameter["string_value"].strip() or name not in settings_type.model_fields)
    }
    try:
        return settings_type.model_validate(texts)
    except ValidationError as error:
        raise ValueError(_problem(error, texts, settings_type)) from None


def _problem(error: ValidationError, texts: Mapping[str, str], settings_type: type[BaseModel]) -> str:
    """The first problem, in words that name the parameter."""
    first: Any = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if not first["loc"]:  # of several parameters together: the message names them
        return str(cause)
    name = first["loc"][0]
    if first["type"] == "extra_forbidden":
        return f"parameter {name!r} is unknown; parameters are {', '.join(sorted(settings_type.model_fields))}"
    allowed = str(cause) if cause is not None else first["msg"].replace("Input should be", "it should be")
    return f"parameter {name}: {texts[name]!r} is not allowed; {allowed}"
