"""The settings refuse values that would switch a limit off, and are read from a model configuration."""

from __future__ import annotations

import json
from typing import Any

import pytest

from imagegen.images.input.settings import LoadingSettings
from imagegen.triton.parameters import read_parameters


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_image_bytes", 0),
        ("max_image_side_px", -1),
        ("max_image_pixels", 0),
        ("granularity_px", 0),
        ("max_connections", 0),
        ("max_url_requests", 0),
        ("max_redirects", -1),
        ("fetch_attempts", 0),
        ("decode_threads", -1),
        ("url_cache_bytes", -1),
        ("url_cache_s", -1.0),
        ("url_cache_s", float("inf")),
        ("url_cache_s", float("nan")),
        ("allowed_domains", ("",)),
        ("allowed_domains", ("http://example.com",)),
        ("allowed_domains", ("Example.com",)),
        ("allowed_domains", ("*.example.com",)),
        ("request_threads", 0),
        ("connect_timeout_s", 0.0),
        ("read_timeout_s", float("inf")),
        ("fetch_timeout_s", float("nan")),
        ("formats", ()),
        ("formats", ("PNG", "GIF")),
    ],
)
def test_a_value_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^parameter {name}: .* not allowed"):
        LoadingSettings(**{name: value})


def test_private_addresses_are_refused_unless_asked_for() -> None:
    assert not LoadingSettings().allow_private_addresses


def test_every_kind_of_field_is_read_from_a_model_configuration() -> None:
    texts = {
        "max_image_bytes": "1000",
        "allow_private_addresses": "true",
        "fetch_timeout_s": "2.5",
        "formats": "PNG, WEBP",
        "allowed_domains": "example.com, .example.org",
        "input_save_path": "",
    }
    config = json.dumps({"parameters": {name: {"string_value": text} for name, text in texts.items()}})
    assert read_parameters(config, LoadingSettings) == LoadingSettings(
        max_image_bytes=1000,
        allow_private_addresses=True,
        fetch_timeout_s=2.5,
        formats=("PNG", "WEBP"),
        allowed_domains=("example.com", ".example.org"),
    )


def test_the_cache_can_be_turned_off_by_its_size_and_by_its_time() -> None:
    assert LoadingSettings(url_cache_bytes=0, url_cache_s=0.0).url_cache_s == 0
