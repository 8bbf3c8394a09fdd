"""What becomes of an edit's images and mask, by what the model does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from imagegen.openai.edit_images import edit_tensors
from imagegen.openai.errors import BadRequest
from imagegen_client import EDITING, IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE, ModelDescription
from tests.unit.client.test_client_description import DESCRIPTION


def described(*tasks: str) -> ModelDescription:
    return replace(DESCRIPTION, tasks=dict.fromkeys(tasks, ()), max_references=2)


@pytest.mark.parametrize(
    ("model", "mask", "tensors"),
    [
        (None, None, {"image": [b"a", b"b"], "mask": "alpha"}),
        (None, b"m", {"image": [b"a", b"b"], "mask": b"m"}),
        (described(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), None, {"image": [b"a", b"b"], "mask": "alpha"}),
        (described(INPAINTING), b"m", {"image": [b"a", b"b"], "mask": b"m"}),
        (described(EDITING), None, {"reference_image": [b"a", b"b"]}),
        (described(EDITING, IMAGE_TO_IMAGE, INPAINTING), None, {"reference_image": [b"a", b"b"]}),
    ],
)
def test_images_are_references_only_for_a_model_that_edits_by_them(
    model: ModelDescription | None, mask: bytes | None, tensors: dict[str, Any]
) -> None:
    assert edit_tensors(model, [b"a", b"b"], mask, "image") == tensors


def test_a_mask_repaints_the_one_image_where_the_model_inpaints() -> None:
    assert edit_tensors(described(EDITING, INPAINTING), ["https://a/"], "https://m/", "images") == {
        "image": ["https://a/"],
        "mask": "https://m/",
    }
    with pytest.raises(BadRequest, match="images: 2 images with mask") as refused:
        edit_tensors(described(EDITING, INPAINTING), ["https://a/", "https://b/"], "https://m/", "images")
    assert refused.value.param == "images"


def test_a_mask_with_a_model_that_only_edits_is_refused_with_what_it_does() -> None:
    with pytest.raises(
        BadRequest, match="mask: the model toy does no inpainting; it does text-to-image, editing"
    ) as it:
        edit_tensors(described(TEXT_TO_IMAGE, EDITING), [b"a"], b"m", "image")
    assert it.value.param == "mask"
