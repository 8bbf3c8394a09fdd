"""References and controls that the model does not take are refused by field, with what it takes."""

from __future__ import annotations

import re

import pytest

from imagegen.api.conditions import check_controls, check_reference_count, check_references
from imagegen.api.controls import ControlChoice
from imagegen.api.errors import InvalidArgument
from imagegen.api.limits import NO_CONDITIONS, Conditions
from imagegen_client import INPAINTING, TEXT_TO_IMAGE

EDITS = Conditions(max_references=3, least_reference_px=64, max_reference_ratio=8)
CANNY = Conditions(control_types=("canny",), max_controls=1, control_tasks=(TEXT_TO_IMAGE,), has_control_end=False)
SEVERAL = Conditions(control_types=("canny", "depth"), max_controls=2, control_tasks=(TEXT_TO_IMAGE,))


def test_references_within_the_limits_are_taken() -> None:
    check_references([], NO_CONDITIONS, "toy")
    check_references([(64, 64), (64, 512), (100, 80)], EDITS, "toy")
    with pytest.raises(InvalidArgument, match=r"reference_image\[1\]: .*64x513"):
        check_references([(64, 64), (64, 513)], EDITS, "toy")


@pytest.mark.parametrize(
    ("takes", "count", "says"),
    [
        (EDITS, 4, "reference_image: 4 images; the model toy takes at most 3"),
        (NO_CONDITIONS, 1, "reference_image: 1 images; the model toy takes none"),
    ],
)
def test_more_references_than_the_model_takes_are_refused(takes: Conditions, count: int, says: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^invalid_argument: {says}$"):
        check_reference_count(count, takes, "toy")
    with pytest.raises(InvalidArgument, match=says):
        check_references([(64, 64)] * count, takes, "toy")


def test_a_reference_that_is_too_small_is_named() -> None:
    with pytest.raises(InvalidArgument, match="63x64 pixels; each side is 64 or more for the model toy") as refused:
        check_references([(64, 64), (63, 64)], EDITS, "toy")
    assert refused.value.field == "reference_image[1]"


@pytest.mark.parametrize("size", [(64, 513), (800, 99)])
def test_a_reference_that_is_too_long_is_named(size: tuple[int, int]) -> None:
    """Flux.2 ended such a request in a ValueError, after all work before the denoiser."""
    with pytest.raises(InvalidArgument, match=r"no side is over 8 times as long as the other") as refused:
        check_references([(64, 64), size], EDITS, "toy")
    assert refused.value.field == "reference_image[1]"


@pytest.mark.parametrize(
    ("takes", "controls"),
    [
        (NO_CONDITIONS, ()),
        (CANNY, (ControlChoice(),)),
        (CANNY, (ControlChoice("canny", 0.0),)),
        (SEVERAL, (ControlChoice("depth", 2.0, 0.5), ControlChoice("depth"))),
    ],
)
def test_controls_that_the_model_has_are_taken(takes: Conditions, controls: tuple[ControlChoice, ...]) -> None:
    check_controls(controls, TEXT_TO_IMAGE, takes, "toy")


@pytest.mark.parametrize(
    ("takes", "controls", "task", "says"),
    [
        (NO_CONDITIONS, (ControlChoice("canny"),), TEXT_TO_IMAGE, "control_image: the model toy has no control models"),
        (
            CANNY,
            (ControlChoice(),),
            INPAINTING,
            "control_image: the model toy takes none for inpainting; for text-to-image it does",
        ),
        (CANNY, (ControlChoice(),) * 2, TEXT_TO_IMAGE, "control_image: 2 images; the model toy takes at most 1"),
        (SEVERAL, (ControlChoice("pose"),), TEXT_TO_IMAGE, "control_type: 'pose' is not one of canny, depth"),
        (SEVERAL, (ControlChoice("Canny"),), TEXT_TO_IMAGE, "control_type: 'Canny' is not one of canny, depth"),
        (
            SEVERAL,
            (ControlChoice(),),
            TEXT_TO_IMAGE,
            "control_type: missing; the model toy has several: canny, depth",
        ),
        (
            CANNY,
            (ControlChoice("canny", 1.0, 0.5),),
            TEXT_TO_IMAGE,
            "control_end: 0.5; the controls of the model toy count to the end",
        ),
    ],
)
def test_controls_that_the_model_has_not_are_refused(
    takes: Conditions, controls: tuple[ControlChoice, ...], task: str, says: str
) -> None:
    with pytest.raises(InvalidArgument, match=f"^{re.escape(f'invalid_argument: {says}')}$"):
        check_controls(controls, task, takes, "toy")
