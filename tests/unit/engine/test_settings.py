"""Settings of the engine: what is out of range is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from imagegen.engine.settings import EngineSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_active_requests", 0),
        ("max_batch_rows", 0),
        ("max_batch_pixels", -1),
        ("prefer", "speed"),
        ("row_buckets", (0, 16)),
        ("row_buckets", (16, 8)),
        ("row_buckets", (2, 8)),  # below max_batch_rows
        ("prompt_cache_bytes", -1),
        ("image_cache_bytes", -1),
        ("drain_timeout_s", -1.0),
        ("drain_timeout_s", float("inf")),
    ],
)
def test_a_setting_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        EngineSettings(**{name: value})
    assert [error["loc"][0] for error in caught.value.errors()] == [name]


def test_compile_needs_row_buckets() -> None:
    with pytest.raises(ValidationError, match="parameter compile: needs row_buckets"):
        EngineSettings(compile="torch")
    assert EngineSettings(compile="torch", row_buckets=(8, 16)).compile == "torch"


def test_packages_need_no_row_buckets_and_something_to_build_for() -> None:
    assert EngineSettings(compile="aot").compile == "aot"
    with pytest.raises(
        ValidationError, match="parameter compile: aot builds packages for warmup_sizes, which are none"
    ):
        EngineSettings(compile="aot", warmup_sizes=("none",))
