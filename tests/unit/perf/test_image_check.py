"""A wrong answer is noticed: wrong seed, wrong size, too many images, another image than before."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from imagegen_client import GenerateResult
from perf.image_check import MAX_LEVELS, ImageCheck
from perf.traces import Planned

PLANNED = Planned(index=0, due_s=0.0, num_inference_steps=4, seed=7)


def answer(level: int = 100, *, seed: int = 7, side_px: int = 8, images: int = 1) -> GenerateResult:
    buffer = io.BytesIO()
    Image.fromarray(np.full((side_px, side_px, 3), level, np.uint8)).save(buffer, "PNG")
    return GenerateResult(images=(buffer.getvalue(),) * images, urls=(), seeds=(seed,), metadata={})


def test_the_right_answer_has_no_fault() -> None:
    check = ImageCheck(8)
    assert check.fault(PLANNED, answer(100)) == ""
    assert check.fault(PLANNED, answer(100 + MAX_LEVELS)) == ""
    assert check.fault(PLANNED, answer(100 - MAX_LEVELS)) == ""


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (answer(seed=8), "asked for 7"),
        (answer(side_px=16), "size (16, 16)"),
        (answer(images=2), "2 images"),
    ],
)
def test_a_wrong_answer_is_named(wrong: GenerateResult, said: str) -> None:
    assert said in ImageCheck(8).fault(PLANNED, wrong)


def test_another_image_for_the_same_request_is_a_fault_of_the_later_one() -> None:
    check = ImageCheck(8)
    assert check.fault(PLANNED, answer(0)) == ""
    assert "255 levels" in check.fault(PLANNED, answer(255))


def test_other_requests_may_look_otherwise() -> None:
    check = ImageCheck(8)
    assert check.fault(PLANNED, answer(0)) == ""
    assert check.fault(Planned(1, 0.0, 4, 7), answer(255)) == ""
