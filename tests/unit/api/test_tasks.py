"""Which task a request asks for, and the refusal of one that the model does not do."""

from __future__ import annotations

import pytest

from imagegen.api.errors import InvalidArgument
from imagegen.api.tasks import check_task, requested_task
from imagegen_client import EDITING, IMAGE_TO_IMAGE, INPAINTING, TASKS, TEXT_TO_IMAGE

SHOWN = {
    TEXT_TO_IMAGE: "text-to-image",
    IMAGE_TO_IMAGE: "image-to-image (image)",
    INPAINTING: "inpainting (image and mask)",
    EDITING: "editing (reference_image)",
}


def test_images_and_masks_select_the_task() -> None:
    assert requested_task(has_image=False, has_mask=False) == TEXT_TO_IMAGE
    assert requested_task(has_image=True, has_mask=False) == IMAGE_TO_IMAGE
    assert requested_task(has_image=True, has_mask=True) == INPAINTING
    assert requested_task(has_image=False, has_mask=False, has_references=True) == EDITING


@pytest.mark.parametrize(
    ("task", "field"),
    [
        (TEXT_TO_IMAGE, "reference_image"),
        (IMAGE_TO_IMAGE, "image"),
        (INPAINTING, "mask"),
        (EDITING, "reference_image"),
    ],
)
def test_a_task_that_the_model_does_not_do_is_refused_with_those_that_it_does(task: str, field: str) -> None:
    others = [other for other in TASKS if other != task]
    check_task(task, [task], "toy")
    with pytest.raises(InvalidArgument) as refused:
        check_task(task, others, "toy")
    done = ", ".join(SHOWN[other] for other in others)
    assert str(refused.value) == f"invalid_argument: {field}: the model toy does no {task}; it does {done}"


def test_what_would_make_the_difference_to_a_request_of_text_alone_is_named() -> None:
    with pytest.raises(InvalidArgument, match="image: the model toy does no text-to-image; it does image-to-image"):
        check_task(TEXT_TO_IMAGE, [IMAGE_TO_IMAGE], "toy")
    with pytest.raises(InvalidArgument, match="reference_image: the model toy does no text-to-image; it does editing"):
        check_task(TEXT_TO_IMAGE, [EDITING], "toy")
