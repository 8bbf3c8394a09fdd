"""Which task a request asks for, and the refusal of one that the model does not do."""

from __future__ import annotations

import pytest

from imagegen.api.errors import InvalidArgument
from imagegen.api.tasks import check_task, requested_task
from imagegen_client import IMAGE_TO_IMAGE, INPAINTING, TASKS, TEXT_TO_IMAGE


def test_images_and_masks_select_the_task() -> None:
    assert requested_task(has_image=False, has_mask=False) == TEXT_TO_IMAGE
    assert requested_task(has_image=True, has_mask=False) == IMAGE_TO_IMAGE
    assert requested_task(has_image=True, has_mask=True) == INPAINTING


@pytest.mark.parametrize(("task", "field"), [(TEXT_TO_IMAGE, "image"), (IMAGE_TO_IMAGE, "image"), (INPAINTING, "mask")])
def test_a_task_that_the_model_does_not_do_is_refused_with_those_that_it_does(task: str, field: str) -> None:
    others = [other for other in TASKS if other != task]
    check_task(task, [task], "toy")
    with pytest.raises(InvalidArgument) as refused:
        check_task(task, others, "toy")
    assert str(refused.value) == f"invalid_argument: {field}: the model toy does no {task}; it does {', '.join(others)}"
