"""Parameters of a `config.pbtxt` become typed settings, and what does not fit is refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from imagegen.api.parameter_types import SETTINGS_CONFIG, CommaSeparated, TrueOrFalse
from imagegen.images.input.settings import InputSettings
from imagegen.images.output.settings import OutputSettings
from imagegen.triton.diffusion_settings import DiffusionSettings
from imagegen.triton.parameters import read_parameters
from imagegen.triton.stream_settings import StreamSettings

SETTINGS = [DiffusionSettings, InputSettings, OutputSettings, StreamSettings]


class EveryKind(BaseModel):
    model_config = SETTINGS_CONFIG

    text: str = "default"
    whole: int = Field(default=1, ge=-5)
    real: float = 1.0
    switch: TrueOrFalse = False
    numbers: Annotated[tuple[int, ...], CommaSeparated] = (1,)
    words: Annotated[tuple[str, ...], CommaSeparated] = ("a",)
    maybe_text: str | None = None
    maybe_whole: int | None = None
    maybe_real: float | None = None


def model_config(texts: Mapping[str, str]) -> str:
    """A model configuration as Triton passes it to `initialize`."""
    return json.dumps({"name": "m", "parameters": {name: {"string_value": text} for name, text in texts.items()}})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("text", " runwayml/sd ", "runwayml/sd"),
        ("text", "", "default"),
        ("whole", "", 1),
        ("whole", " ", 1),
        ("whole", "12", 12),
        ("whole", "-3", -3),
        ("real", "0.25", 0.25),
        ("real", "3", 3.0),
        ("switch", "true", True),
        ("switch", "True", True),
        ("switch", "false", False),
        ("numbers", "1024, 768", (1024, 768)),
        ("numbers", "", (1,)),
        ("words", "PNG,WEBP", ("PNG", "WEBP")),
        ("words", " PNG , ", ("PNG",)),
        ("maybe_text", "fp16", "fp16"),
        ("maybe_text", "", None),
        ("maybe_whole", "4", 4),
        ("maybe_whole", " ", None),
        ("maybe_real", "0", 0.0),
        ("maybe_real", "", None),
    ],
)
def test_each_kind_of_field_is_read(name: str, text: str, value: Any) -> None:
    settings = read_parameters(model_config({name: text}), EveryKind)
    assert settings == EveryKind(**{name: value})
    assert type(getattr(settings, name)) is type(value)


def test_without_parameters_the_defaults_hold() -> None:
    assert read_parameters('{"name": "m"}', EveryKind) == EveryKind()


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("whole", "1.5", "it should be a valid integer"),
        ("whole", "-6", "it should be greater than or equal to -5"),
        ("real", "fast", "it should be a valid number"),
        ("real", "nan", "it should be a finite number"),
        ("real", "inf", "it should be a finite number"),
        ("switch", "yes", "it is true or false"),
        ("switch", "1", "it is true or false"),
        ("numbers", "1,x", "it should be a valid integer"),
        ("maybe_whole", "four", "it should be a valid integer"),
    ],
)
def test_text_that_is_not_allowed_is_refused_with_name_text_and_rule(name: str, text: str, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"^parameter {name}: {text!r} is not allowed; {allowed}"):
        read_parameters(model_config({name: text}), EveryKind)


def test_an_unknown_parameter_is_refused_and_the_known_ones_are_listed() -> None:
    for text in ("1", ""):
        with pytest.raises(ValueError, match=r"^parameter 'wole' is unknown; parameters .*switch, text, whole, words$"):
            read_parameters(model_config({"wole": text}), EveryKind)


def test_parameters_of_the_python_backend_itself_are_left_to_it() -> None:
    assert read_parameters(model_config({"EXECUTION_ENV_PATH": "/somewhere"}), EveryKind) == EveryKind()


def test_a_word_that_is_none_of_those_allowed_is_refused_and_they_are_listed() -> None:
    allowed = "'speed' is not allowed; it should be 'latency', 'balanced' or 'throughput'"
    with pytest.raises(ValueError, match=f"^parameter prefer: {allowed}"):
        read_parameters(model_config({"prefer": "speed"}), DiffusionSettings)


def test_a_rule_of_several_parameters_names_them_itself() -> None:
    with pytest.raises(ValueError, match=r"^parameter compile: needs row_buckets, else"):
        read_parameters(model_config({"compile": "true"}), DiffusionSettings)


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_parameter_is_documented_and_its_default_can_be_written_as_text(settings: type[BaseModel]) -> None:
    defaults = settings()
    texts = {name: _text(getattr(defaults, name)) for name in settings.model_fields}
    assert read_parameters(model_config(texts), settings) == defaults
    assert all(field.description for field in settings.model_fields.values())


def _text(value: object) -> str:
    if value is None:
        return ""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
