"""The images of a request by the fields that they came in."""

from __future__ import annotations

from imagegen.api.request import ImageRequest
from imagegen.images.input.blobs import ImageBlobs, kind_of


def test_fields_are_in_the_order_in_which_problems_are_reported() -> None:
    blobs = ImageBlobs([b"a", b"b"], b"m", [b"r"], [b"c", b"d"])
    assert list(blobs.by_field().items()) == [
        ("image[0]", b"a"),
        ("image[1]", b"b"),
        ("mask", b"m"),
        ("reference_image[0]", b"r"),
        ("control_image[0]", b"c"),
        ("control_image[1]", b"d"),
    ]
    assert ImageBlobs().by_field() == {}


def test_a_mask_that_is_the_first_images_alpha_is_no_blob() -> None:
    blobs = ImageBlobs([b"a"], b"alpha")
    assert blobs.mask_is_alpha
    assert list(blobs.by_field()) == ["image[0]"]
    assert not ImageBlobs([b"a"]).mask_is_alpha


def test_those_of_a_request() -> None:
    request = ImageRequest("x", images=(b"a",), mask=b"m", references=(b"r",), control_images=(b"c",))
    assert ImageBlobs.of(request) == ImageBlobs((b"a",), b"m", (b"r",), (b"c",))


def test_kinds_of_fields() -> None:
    kinds = [kind_of(field) for field in ("image[15]", "mask", "reference_image[0]", "control_image[3]")]
    assert kinds == ["image", "mask", "reference_image", "control_image"]
