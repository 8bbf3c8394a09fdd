"""Decoded input images go into tensors between the models and come out as they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imagegen.api.errors import InvalidArgument
from imagegen.api.input_images import NO_IMAGES, InputImages, take_input_images
from imagegen.api.tensors import IMAGE_TENSORS
from imagegen_client import EDITING, IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE


def pixels(*shape: int) -> Any:
    """Others at each call."""
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


IMAGES, MASK, CONTROLS = pixels(2, 8, 16, 3), pixels(1, 8, 16), pixels(2, 4, 4, 3)
REFERENCES = (pixels(3, 5, 3), pixels(70, 2, 3), pixels(1, 1, 3))


@pytest.mark.parametrize(
    "given",
    [
        NO_IMAGES,
        InputImages(IMAGES),
        InputImages(IMAGES, MASK, controls=CONTROLS),
        InputImages(references=REFERENCES),
        InputImages(references=REFERENCES[:1], controls=CONTROLS),
    ],
)
def test_tensors_are_taken_out_as_they_went_in(given: InputImages) -> None:
    tensors = given.tensors()
    assert set(tensors) <= set(IMAGE_TENSORS)
    arrays = {**tensors, "n": np.ones(1, np.int32)}
    taken = take_input_images(arrays)
    assert set(arrays) == {"n"}
    assert len(taken.present()) == len(given.present())
    for mine, theirs in zip(taken.present(), given.present(), strict=True):
        assert mine.dtype == np.uint8
        assert np.array_equal(mine, theirs)
    assert (taken.task, taken.control_count) == (given.task, given.control_count)


def test_references_are_flat_with_height_and_width_beside_them() -> None:
    tensors = InputImages(references=REFERENCES).tensors()
    assert tensors["reference_pixels"].shape == (3 * 5 * 3 + 70 * 2 * 3 + 3,)
    assert tensors["reference_sizes"].tolist() == [[3, 5], [70, 2], [1, 1]]
    assert tensors["reference_sizes"].dtype == np.int32


def test_references_share_the_memory_that_they_came_in() -> None:
    tensors = InputImages(references=REFERENCES).tensors()
    flat = tensors["reference_pixels"]
    assert all(np.shares_memory(reference, flat) for reference in take_input_images(tensors).references)


@pytest.mark.parametrize(
    ("flat", "sizes", "field"),
    [
        (pixels(12), None, "reference_pixels"),
        (None, [[2, 2]], "reference_pixels"),
        (pixels(12), [[2, 3]], "reference_pixels"),
        (pixels(12), [[2, 1]], "reference_pixels"),
        (pixels(12), [[-2, -2]], "reference_sizes"),
        (pixels(0), [[0, 5]], "reference_sizes"),
        (pixels(12), [2, 2], "reference_sizes"),
        (pixels(12), [[2, 2, 3]], "reference_sizes"),
        (pixels(0), np.zeros((0, 2)), "reference_sizes"),
        (pixels(12), [[2**31 - 1, 2**31 - 1]], "reference_pixels"),
    ],
)
def test_references_that_do_not_fit_their_sizes_are_refused(flat: Any, sizes: Any, field: str) -> None:
    arrays = {} if flat is None else {"reference_pixels": flat}
    if sizes is not None:
        arrays["reference_sizes"] = np.array(sizes, dtype=np.int32)
    with pytest.raises(InvalidArgument) as refused:
        take_input_images(arrays)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("given", "task", "area_px"),
    [
        (NO_IMAGES, TEXT_TO_IMAGE, None),
        (InputImages(controls=CONTROLS), TEXT_TO_IMAGE, None),
        (InputImages(IMAGES), IMAGE_TO_IMAGE, 8 * 16),
        (InputImages(IMAGES, MASK), INPAINTING, 8 * 16),
        (InputImages(references=REFERENCES), EDITING, 1),
    ],
)
def test_they_say_which_task_is_meant_and_about_how_large_the_image_is(
    given: InputImages, task: str, area_px: int | None
) -> None:
    assert (given.task, given.auto_area_px) == (task, area_px)
