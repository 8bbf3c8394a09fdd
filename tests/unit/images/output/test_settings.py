"""Settings under which images could not be stored or addressed are refused when the model is loaded."""

from __future__ import annotations

import json

import pytest

from imagegen.images.output.settings import OutputSettings
from imagegen.triton.parameters import read_parameters


def read(**texts: str) -> OutputSettings:
    """The settings from the texts of a `config.pbtxt`."""
    config = {"parameters": {name: {"string_value": text} for name, text in texts.items()}}
    return read_parameters(json.dumps(config), OutputSettings)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("request_threads", "0"),
        ("encode_threads", "-1"),
        ("png_encoder", "fpng"),
        ("embed_parameters", "1"),
        ("output_url", "/var/images"),
        ("output_url", "ftp://host/images"),
        ("output_url", "file://images"),  # relative to an unknown folder
        ("output_url", "s3://"),
        ("public_base_url", "images.example.org"),
        ("signed_url_s", "0"),
        ("signed_url_s", str(7 * 24 * 3600 + 1)),
        ("store_timeout_s", "0.0"),
        ("store_timeout_s", "inf"),
    ],
)
def test_a_value_out_of_range_is_named(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"^parameter {name}: '.*' is not allowed; "):
        read(**{name: text})


@pytest.mark.parametrize("output_url", ["file:///var/images", "memory://images"])
def test_a_store_that_cannot_sign_needs_a_public_address(output_url: str) -> None:
    with pytest.raises(ValueError, match=r"^parameter public_base_url: missing; \w+:// cannot sign"):
        read(output_url=output_url)
    assert read(output_url=output_url, public_base_url="http://localhost:9000/images").output_url == output_url


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_a_store_that_can_sign_needs_none(scheme: str) -> None:
    assert read(output_url=f"{scheme}://bucket/folder").public_base_url is None


def test_zero_encode_threads_leave_a_core_to_the_request() -> None:
    assert OutputSettings().helper_threads >= 1
    assert OutputSettings(encode_threads=3).helper_threads == 3
