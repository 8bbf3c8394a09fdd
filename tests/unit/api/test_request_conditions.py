"""References and controls in a request: what breaks a rule is refused by name, what fits comes out typed."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from imagegen.api.controls import ControlChoice
from imagegen.api.errors import InvalidArgument
from imagegen.api.input_images import InputImages
from imagegen.api.request import ImageRequest, OutputChoice, parse_request
from tests.unit.api.arrays import LIMITS, parse, tensor


def test_references_and_controls_come_out_typed() -> None:
    request = parse(
        reference_image=[b"r", "http://host/r.png"],
        control_image=[b"c", b"d"],
        control_type=["canny", "depth"],
        control_scale=[0.6],
        control_end=[0.8],
        control_preprocess=[True],
        return_control=[True],
    )
    assert request == ImageRequest(
        prompt="a cat",
        references=(b"r", b"http://host/r.png"),
        control_images=(b"c", b"d"),
        controls=(ControlChoice("canny", 0.6, 0.8), ControlChoice("depth", 1.0, 1.0)),
        control_preprocess=True,
        output=OutputChoice(return_control=True),
    )
    assert parse(control_preprocess=[False], return_control=[False]) == parse()


def test_images_that_are_decoded_already_count_as_given() -> None:
    pixels = np.zeros((1, 8, 8, 3), np.uint8)
    arrays = {name: tensor(name, value) for name, value in (("prompt", ["x"]), ("control_scale", [0.5]))}
    assert parse_request(arrays, LIMITS, given=InputImages(controls=pixels)).controls == (ControlChoice(None, 0.5),)
    with pytest.raises(InvalidArgument, match="control_scale: given without control_image"):
        parse_request(arrays, LIMITS, given=InputImages(pixels))
    with pytest.raises(InvalidArgument, match="reference_image: given with image"):
        parse_request({"prompt": tensor("prompt", ["x"])}, LIMITS, given=InputImages(pixels, references=(pixels[0],)))


# (inputs, the field that is refused, what the message says of value and allowed range)
REJECTED_CONDITIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"reference_image": []}, "reference_image", "shape [0]; 1..16 elements"),
    ({"reference_image": [b"r"] * 17}, "reference_image", "too_large: 17 reference_images; at most 16 are allowed"),
    ({"image": [b"i"], "reference_image": [b"r"]}, "reference_image", "given with image"),
    ({"reference_image": [b"r"], "mask": [b"m"]}, "mask", "given without image"),
    ({"reference_image": [b"r"], "strength": [0.5]}, "strength", "given without image"),
    ({"control_image": []}, "control_image", "shape [0]; 1..4 elements"),
    ({"control_image": [b"c"] * 5}, "control_image", "too_large: 5 control_images; at most 4 are allowed"),
    ({"control_type": ["canny"]}, "control_type", "given without control_image"),
    ({"control_image": [b"c"] * 2, "control_type": ["canny"]}, "control_type", "1 for 2 in control_image"),
    ({"control_image": [b"c"], "control_type": ["canny", "depth"]}, "control_type", "2 for 1 in control_image"),
    ({"control_image": [b"c"], "control_type": [""]}, "control_type", "0 characters; 1..64"),
    ({"control_scale": [1.0]}, "control_scale", "given without control_image"),
    ({"control_image": [b"c"], "control_scale": [1.0, 0.5]}, "control_scale", "2 for 1 in control_image"),
    ({"control_image": [b"c"], "control_scale": [-0.1]}, "control_scale", "-0.1 is outside the allowed range, 0..2"),
    ({"control_image": [b"c"], "control_scale": [2.01]}, "control_scale", "2.01 is outside the allowed range, 0..2"),
    ({"control_image": [b"c"], "control_scale": [math.nan]}, "control_scale", "nan is outside"),
    ({"control_end": [1.0]}, "control_end", "given without control_image"),
    ({"control_image": [b"c"], "control_end": [1.0, 0.5]}, "control_end", "2 for 1 in control_image"),
    (
        {"control_image": [b"c"], "control_end": [0.0]},
        "control_end",
        "0 is outside the allowed range, above 0, up to 1",
    ),
    ({"control_image": [b"c"], "control_end": [1.01]}, "control_end", "1.01 is outside the allowed range"),
    ({"control_preprocess": [True]}, "control_preprocess", "given without control_image"),
    ({"return_control": [True]}, "return_control", "given without control_image"),
    ({"control_image": [b"c"], "return_control": [True, True]}, "return_control", "shape [2]; the shape is [1]"),
]


@pytest.mark.parametrize(("values", "field", "says"), REJECTED_CONDITIONS)
def test_what_breaks_a_rule_is_refused_with_field_value_and_allowed_range(
    values: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(says)) as refusal:
        parse(**values)
    assert refusal.value.field == field
    assert str(refusal.value).startswith(f"invalid_argument: {field}: ")
