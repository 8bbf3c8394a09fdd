"""Settings of the results: what is out of range is refused by name, and a store has addresses."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from imagegen.images.output import settings as module
from imagegen.images.output.settings import OutputSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("request_threads", 0),
        ("encode_threads", -1),
        ("png_encoder", "fpng"),
        ("output_url", "/var/images"),
        ("output_url", "ftp://host/images"),
        ("output_url", "file://images"),  # relative to who knows what
        ("output_url", "s3://"),
        ("public_base_url", "images.example.org"),
        ("signed_url_s", 0),
        ("signed_url_s", 7 * 24 * 3600 + 1),
        ("store_timeout_s", 0.0),
        ("store_timeout_s", float("inf")),
    ],
)
def test_a_setting_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        OutputSettings(**{name: value})
    assert [error["loc"][0] for error in caught.value.errors()] == [name]


def test_an_encoder_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ISAL_INSTALLED", False)
    with pytest.raises(ValidationError, match="needs the package isal, which is not installed"):
        OutputSettings(png_encoder="isal")
    assert OutputSettings(png_encoder="auto").png_encoder == "auto"


def test_zero_encode_threads_leave_a_core_to_the_request() -> None:
    assert OutputSettings().helper_threads >= 1
    assert OutputSettings(encode_threads=3).helper_threads == 3


@pytest.mark.parametrize("output_url", ["file:///var/images", "memory://images"])
def test_a_store_that_cannot_sign_needs_a_public_address(output_url: str) -> None:
    with pytest.raises(ValidationError, match=r"parameter public_base_url: missing; \w+:// cannot sign"):
        OutputSettings(output_url=output_url)
    addressed = OutputSettings(output_url=output_url, public_base_url="http://localhost:9000/images")
    assert addressed.output_url == output_url


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_a_store_that_can_sign_needs_none(scheme: str) -> None:
    assert OutputSettings(output_url=f"{scheme}://bucket/folder").public_base_url is None
