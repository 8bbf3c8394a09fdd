"""Every way in which a result can be wrong is seen, and named by its kind."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from perf import result_check
from perf.result_check import ResultCheck, WrongResult
from perf.workload import TEXT_TO_IMAGE, Request

ONE = Request(TEXT_TO_IMAGE, (96, 64), 4, 1, 5, "a star")
TWO = Request(TEXT_TO_IMAGE, (96, 64), 4, 2, 4, "a star")


def image(width: int = 96, height: int = 64, *, brighter: int = 0, format_name: str = "PNG") -> bytes:
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([rows, columns, rows + columns], axis=2).astype(np.uint8) + np.uint8(brighter)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format_name)
    return file.getvalue()


def flat() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (96, 64), (250, 128, 3)).save(file, "PNG")
    return file.getvalue()


def test_a_right_result_passes_again_and_again() -> None:
    check = ResultCheck()
    for brighter in (0, 2, 1):
        check.check(ONE, [image(brighter=brighter)], [5])
    check.check(TWO, [image(brighter=40), image()], [4, 5])


@pytest.mark.parametrize(
    ("images", "seeds", "kind"),
    [
        ([], [], result_check.WRONG_COUNT),
        ([image(), image()], [5, 6], result_check.WRONG_COUNT),
        ([image()], [6], result_check.WRONG_SEED),
        ([image()], [5, 6], result_check.WRONG_SEED),
        ([b""], [5], result_check.NO_IMAGE),
        ([b"<html>"], [5], result_check.NO_IMAGE),
        ([image()[:-200]], [5], result_check.NO_IMAGE),
        ([image(format_name="JPEG")], [5], result_check.NO_IMAGE),
        ([image(64, 96)], [5], result_check.WRONG_SIZE),
        ([image(95, 64)], [5], result_check.WRONG_SIZE),
        ([flat()], [5], result_check.ONE_COLOUR),
    ],
)
def test_a_wrong_result_is_named_by_its_kind(images: list[bytes], seeds: list[int], kind: str) -> None:
    with pytest.raises(WrongResult) as wrong:
        ResultCheck().check(ONE, images, seeds)
    assert wrong.value.kind == kind


def test_another_image_for_the_same_request_is_wrong() -> None:
    check = ResultCheck()
    check.check(ONE, [image()], [5])
    with pytest.raises(WrongResult, match=result_check.OTHER_IMAGE):
        check.check(ONE, [image(brighter=3)], [5])


def test_the_images_of_a_request_are_compared_with_those_asked_for_alone() -> None:
    check = ResultCheck()
    check.check(ONE, [image()], [5])
    with pytest.raises(WrongResult, match=result_check.OTHER_IMAGE):
        check.check(TWO, [image(), image(brighter=40)], [4, 5])
