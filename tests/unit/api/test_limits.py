"""Sizes keep to the limits, and limits that would allow nothing are refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from imagegen.api.errors import InvalidArgument
from imagegen.api.limits import RequestLimits, check_size, fit_within

LIMITS = RequestLimits(max_side_px=2048, max_area_px=1024 * 1024)

_SIDES = st.integers(1, 40_000)


@given(st.tuples(_SIDES, _SIDES), st.sampled_from([1, 8, 16, 32]))
@example((2078, 2078), 8)  # 2078 * (2048 / 2078) is just below 2048 in floats: a whole granule was lost
def test_an_image_is_fitted_within_the_limits_as_large_as_they_allow(size: tuple[int, int], grain: int) -> None:
    fitted = fit_within(size, LIMITS, grain)
    check_size(fitted, LIMITS, grain)
    assert all(side <= max(original, grain) for side, original in zip(fitted, size, strict=True)), "scaled up"
    assert fit_within(fitted, LIMITS, grain) == fitted
    exact = min(1.0, LIMITS.max_side_px / max(size), math.sqrt(LIMITS.max_area_px / (size[0] * size[1])))
    for side, original in zip(fitted, size, strict=True):
        assert original * exact - grain - 1e-6 < side <= max(grain, original * exact + 1e-6)


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((512, 512), (512, 512)),
        ((515, 519), (512, 512)),
        ((3, 3), (8, 8)),
        ((4096, 1024), (2048, 512)),
        ((2048, 2048), (1024, 1024)),
    ],
)
def test_examples_of_fitting(size: tuple[int, int], fitted: tuple[int, int]) -> None:
    assert fit_within(size, LIMITS, 8) == fitted


def test_a_size_that_breaks_a_limit_is_refused_with_all_of_them() -> None:
    check_size((64, 2048), LIMITS, 16)
    with pytest.raises(InvalidArgument) as refusal:
        check_size((64, 2056), LIMITS, 16)
    assert str(refusal.value) == (
        'invalid_argument: size: "64x2056" is not allowed: each side is 16..2048 pixels, a multiple of 16,'
        " and width x height at most 1048576, as 1024x1024"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_num_inference_steps", 0),
        ("max_side_px", 0),
        ("max_area_px", -1),
        ("max_loras_per_request", -1),
        ("max_loras_per_request", 17),
        ("max_guidance_scale", -0.5),
        ("max_guidance_scale", float("inf")),
        ("max_guidance_scale", float("nan")),
    ],
)
def test_a_limit_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        RequestLimits(**{name: value})
    assert [error["loc"][0] for error in caught.value.errors()] == [name]
