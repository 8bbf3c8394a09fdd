"""The settings refuse values that would switch a limit off, and are read from a model configuration."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from imagegen.images.input.settings import InputSettings
from imagegen.triton.parameters import read_parameters


def read(**texts: str) -> InputSettings:
    """The settings from the texts of a `config.pbtxt`."""
    config = {"parameters": {name: {"string_value": text} for name, text in texts.items()}}
    return read_parameters(json.dumps(config), InputSettings)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("max_image_bytes", "0"),
        ("max_image_side_px", "-1"),
        ("max_image_pixels", "0"),
        ("max_connections", "0"),
        ("max_url_requests", "0"),
        ("max_redirects", "-1"),
        ("fetch_attempts", "0"),
        ("decode_threads", "-1"),
        ("url_cache_bytes", "-1"),
        ("url_cache_s", "-1.0"),
        ("url_cache_s", "inf"),
        ("url_cache_s", "nan"),
        ("allow_private_addresses", "yes"),
        ("allowed_domains", "http://example.com"),
        ("allowed_domains", "example.org, Example.com"),
        ("allowed_domains", "*.example.com"),
        ("request_threads", "0"),
        ("connect_timeout_s", "0.0"),
        ("read_timeout_s", "inf"),
        ("fetch_timeout_s", "nan"),
        ("formats", ","),
        ("formats", "PNG,GIF"),
    ],
)
def test_a_value_out_of_range_is_named(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"^parameter {name}: '.*' is not allowed; "):
        read(**{name: text})


def test_an_empty_domain_is_refused() -> None:
    with pytest.raises(ValidationError, match="'' is no host"):
        InputSettings(allowed_domains=("",))


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("max_num_inference_steps", "diffusion"),
        ("max_guidance_scale", "diffusion"),
        ("max_side_px", "diffusion"),
        ("max_area_px", "diffusion"),
        ("granularity_px", "diffusion"),
        ("output_url", "image_postprocess"),
    ],
)
def test_a_setting_of_another_model_is_refused_with_its_name(name: str, owner: str) -> None:
    with pytest.raises(ValueError, match=f"^parameter {name}: set it on {owner} alone"):
        read(**{name: "8"})


def test_private_addresses_are_refused_by_default() -> None:
    assert not InputSettings().allow_private_addresses


def test_every_kind_of_field_is_read_from_a_model_configuration() -> None:
    settings = read(
        max_image_bytes="1000",
        allow_private_addresses="true",
        fetch_timeout_s="2.5",
        formats="PNG, WEBP",
        allowed_domains="example.com, .example.org",
        input_save_path="",
    )
    assert settings == InputSettings(
        max_image_bytes=1000,
        allow_private_addresses=True,
        fetch_timeout_s=2.5,
        formats=("PNG", "WEBP"),
        allowed_domains=("example.com", ".example.org"),
    )


def test_the_cache_can_be_turned_off_by_its_size_and_by_its_time() -> None:
    assert InputSettings(url_cache_bytes=0, url_cache_s=0.0).url_cache_s == 0
