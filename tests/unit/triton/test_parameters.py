"""Parameters of a `config.pbtxt` become typed settings, and what does not fit is refused by name."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from imagegen.api.request import Caps
from imagegen.engine.settings import DiffusionSettings
from imagegen.images.input.settings import LoadingSettings
from imagegen.images.output.settings import PostprocessSettings
from imagegen.launch.staging import read_model_config
from imagegen.triton.parameters import read_parameters

REPOSITORY = Path(__file__).resolve().parents[3] / "model_repository"


@dataclass(frozen=True)
class EveryKind:
    text: str = "default"
    whole: int = 1
    real: float = 1.0
    switch: bool = False
    numbers: tuple[int, ...] = (1,)
    words: tuple[str, ...] = ("a",)
    maybe_text: str | None = "default"
    maybe_whole: int | None = 1
    maybe_real: float | None = 1.0


def model_config(texts: Mapping[str, str]) -> str:
    """A model configuration as Triton passes it to `initialize`."""
    return json.dumps({"name": "m", "parameters": {name: {"string_value": text} for name, text in texts.items()}})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("text", " runwayml/sd ", "runwayml/sd"),
        ("text", "", ""),
        ("whole", "12", 12),
        ("whole", "-3", -3),
        ("real", "0.25", 0.25),
        ("real", "3", 3.0),
        ("switch", "true", True),
        ("switch", "True", True),
        ("switch", "false", False),
        ("numbers", "1024, 768", (1024, 768)),
        ("numbers", "", ()),
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
    assert settings == dataclasses.replace(EveryKind(), **{name: value})
    assert type(getattr(settings, name)) is type(value)


def test_without_parameters_the_defaults_hold() -> None:
    assert read_parameters('{"name": "m"}', EveryKind) == EveryKind()


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("whole", "1.5", "int"),
        ("whole", "", "int"),
        ("real", "fast", "float"),
        ("switch", "yes", "bool"),
        ("switch", "1", "bool"),
        ("numbers", "1,x", r"tuple\[int, ...\]"),
        ("maybe_whole", "four", r"int \| None"),
    ],
)
def test_text_that_does_not_fit_is_refused_with_name_text_and_kind(name: str, text: str, kind: str) -> None:
    with pytest.raises(ValueError, match=f"^parameter {name}: {text!r} is not a valid {kind}$"):
        read_parameters(model_config({name: text}), EveryKind)


def test_an_unknown_parameter_is_refused_and_the_known_ones_are_listed() -> None:
    with pytest.raises(ValueError, match=r"parameter 'wole' is unknown; parameters are .*switch, text, whole"):
        read_parameters(model_config({"wole": "1"}), EveryKind)


SETTINGS = [Caps, DiffusionSettings, LoadingSettings, PostprocessSettings]


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_parameter_is_documented_in_the_order_of_the_fields(settings: Any) -> None:
    attributes = settings.__doc__.partition("Attributes:\n")[2].partition("\n\n")[0]
    documented = re.findall(r"^ {8}(\w+):", attributes, re.MULTILINE)
    assert documented == list(settings.__annotations__)  # what it inherits is documented where it is defined


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_parameter_can_be_written_as_text(settings: Any) -> None:
    defaults = settings()
    texts = {field.name: _text(getattr(defaults, field.name)) for field in dataclasses.fields(settings)}
    assert read_parameters(model_config(texts), settings) == defaults


def _text(value: object) -> str:
    if value is None:
        return ""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        (Caps, "max_num_inference_steps", 0),
        (Caps, "max_side_px", 0),
        (Caps, "max_area_px", -1),
        (Caps, "max_guidance_scale", -0.5),
        (Caps, "max_guidance_scale", float("inf")),
        (Caps, "max_guidance_scale", float("nan")),
        (DiffusionSettings, "max_side_px", 0),
        (DiffusionSettings, "dtype", "int8"),
        (DiffusionSettings, "native_size_px", (512,)),
        (DiffusionSettings, "max_active_requests", 0),
        (DiffusionSettings, "max_batch_rows", 0),
        (DiffusionSettings, "row_buckets", (0, 16)),
        (DiffusionSettings, "row_buckets", (16, 8)),
        (DiffusionSettings, "row_buckets", (2, 8)),  # below max_batch_rows
        (DiffusionSettings, "compile", True),  # without row_buckets
        (DiffusionSettings, "prompt_cache_bytes", -1),
        (DiffusionSettings, "drain_timeout_s", float("inf")),
        (DiffusionSettings, "default_num_inference_steps", 0),
        (DiffusionSettings, "default_num_inference_steps", 101),
        (PostprocessSettings, "request_threads", 0),
        (PostprocessSettings, "encode_threads", -1),
        (PostprocessSettings, "png_encoder", "fpng"),
        (PostprocessSettings, "output_url", "/var/images"),
        (PostprocessSettings, "output_url", "ftp://host/images"),
        (PostprocessSettings, "output_url", "file://images"),  # relative to who knows what
        (PostprocessSettings, "output_url", "s3://"),
        (PostprocessSettings, "public_base_url", "images.example.org"),
        (PostprocessSettings, "signed_url_s", 0),
        (PostprocessSettings, "signed_url_s", 7 * 24 * 3600 + 1),
        (PostprocessSettings, "store_timeout_s", 0.0),
        (PostprocessSettings, "store_timeout_s", float("inf")),
    ],
)
def test_a_setting_out_of_range_is_named(settings: Any, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^parameter {name}: "):
        settings(**{name: value})


def test_zero_encode_threads_leave_a_core_to_the_request() -> None:
    assert PostprocessSettings().helper_threads >= 1
    assert PostprocessSettings(encode_threads=3).helper_threads == 3


@pytest.mark.parametrize("output_url", ["file:///var/images", "memory://images"])
def test_a_store_that_cannot_sign_needs_a_public_address(output_url: str) -> None:
    with pytest.raises(ValueError, match=r"^parameter public_base_url: missing; \w+:// cannot sign"):
        PostprocessSettings(output_url=output_url)
    PostprocessSettings(output_url=output_url, public_base_url="http://localhost:9000/images")


def test_a_store_that_can_sign_needs_none() -> None:
    for scheme in ("s3", "gs", "az"):
        PostprocessSettings(output_url=f"{scheme}://bucket/folder")


def test_both_ends_of_the_ensemble_are_told_of_the_same_store() -> None:
    """The edge refuses URLs without a store, so it has to know what the postprocessor knows."""
    assert LoadingSettings().output_url == PostprocessSettings().output_url
    edge, end = (
        read_model_config(REPOSITORY / model / "config.pbtxt").parameters["output_url"].string_value
        for model in ("image_preprocess", "image_postprocess")
    )
    assert edge == end


def test_parameters_of_the_python_backend_itself_are_left_to_it() -> None:
    config = {"parameters": {"EXECUTION_ENV_PATH": {"string_value": "/somewhere"}}}
    assert read_parameters(json.dumps(config), EveryKind) == EveryKind()
