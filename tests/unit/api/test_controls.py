"""Each control image has its type, scale and end; what is left out has a default."""

from __future__ import annotations

import pytest

from imagegen.api.controls import ControlChoice, parse_controls
from imagegen.api.errors import InvalidArgument
from tests.unit.api.arrays import tensor


def test_without_control_images_there_are_none() -> None:
    assert parse_controls({}, 0) == ()


def test_what_is_left_out_has_defaults() -> None:
    assert parse_controls({}, 2) == (ControlChoice(None, 1.0, 1.0), ControlChoice(None, 1.0, 1.0))


def test_values_belong_to_images_in_order_and_may_be_fewer() -> None:
    arrays = {
        "control_type": tensor("control_type", ["canny", "depth"]),
        "control_scale": tensor("control_scale", [0.6]),
        "control_end": tensor("control_end", [0.5, 0.25]),
    }
    assert parse_controls(arrays, 2) == (ControlChoice("canny", 0.6, 0.5), ControlChoice("depth", 1.0, 0.25))


@pytest.mark.parametrize(("scale", "end"), [(0.0, 1e-3), (2.0, 1.0)])
def test_the_ends_of_the_ranges_are_allowed(scale: float, end: float) -> None:
    arrays = {"control_scale": tensor("control_scale", [scale]), "control_end": tensor("control_end", [end])}
    assert parse_controls(arrays, 1) == (ControlChoice(None, scale, end),)


def test_types_are_given_for_all_or_none() -> None:
    """Scales have a default that fits any image, and types have not."""
    with pytest.raises(InvalidArgument, match=r"^invalid_argument: control_type: 1 for 2 in control_image; give"):
        parse_controls({"control_type": tensor("control_type", ["canny"])}, 2)
