"""References and controls: what the model does not take is refused before any image is looked at."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagegen.api.errors import ImageRejected, InvalidArgument
from imagegen.api.limits import Conditions, RequestRules
from imagegen.images.input.preprocess import Preprocessor
from imagegen.images.input.settings import InputSettings
from imagegen_client import EDITING, IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE

Write = Callable[..., bytes]
EDITS = RequestRules(
    model="toy", tasks=(TEXT_TO_IMAGE, EDITING), conditions=Conditions(max_references=3, least_reference_px=16)
)
CONTROLS = Conditions(control_types=("canny", "depth"), max_controls=2, control_tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE))
CONTROLLED = RequestRules(model="toy", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE, INPAINTING), conditions=CONTROLS)
CANNY = RequestRules(
    model="toy", tasks=CONTROLLED.tasks, conditions=CONTROLS.model_copy(update={"control_types": ("canny",)})
)
NEITHER = RequestRules(model="toy", tasks=(TEXT_TO_IMAGE,), conditions=Conditions())


class Edge:
    """A preprocessor; `made` are the control images that were made, with the type of each."""

    def __init__(self, no_metrics: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rules = EDITS
        self.made: list[tuple[str, tuple[int, ...], str]] = []
        self.preprocessor = Preprocessor(InputSettings(), no_metrics, lambda: self.rules, lambda: False)
        monkeypatch.setattr(self.preprocessor._controls, "make", self._make)

    def _make(self, kind: str, pixels: Any) -> Any:
        self.made.append((kind, pixels.shape, threading.current_thread().name))
        return np.full_like(pixels, 7)

    def __call__(self, **values: Any) -> dict[str, Any]:
        """The outputs but for the report."""
        arrays = {"prompt": np.array([b"x"], np.object_)}
        for name, value in values.items():
            items = value if isinstance(value, list) else [value]
            dtype = {bytes: np.object_, bool: np.bool_, float: np.float32}[type(items[0])]
            arrays[name] = np.array(items, dtype=dtype)
        outputs = self.preprocessor.handle(arrays, "")
        del outputs["preprocess_report"]
        return outputs


@pytest.fixture
def edge(no_metrics: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edge]:
    edge = Edge(no_metrics, monkeypatch)
    yield edge
    edge.preprocessor.close()


def test_references_become_flat_pixels_with_sizes(edge: Edge, encoded: Write) -> None:
    outputs = edge(reference_image=[encoded(Image.new("RGB", size)) for size in ((16, 20), (40, 30))])
    assert outputs["reference_sizes"].tolist() == [[20, 16], [30, 40]]
    assert outputs["reference_pixels"].shape == (3 * (20 * 16 + 30 * 40),)
    assert set(outputs) == {"reference_pixels", "reference_sizes"}


def test_controls_become_pixels_of_one_size(edge: Edge, encoded: Write) -> None:
    edge.rules = CONTROLLED
    file = encoded(Image.new("RGB", (24, 16), "red"))
    outputs = edge(control_image=[file, file], control_type=[b"canny", b"depth"], size=b"32x32")
    assert outputs["control_pixels"].shape == (2, 32, 32, 3)
    outputs = edge(control_image=file, control_type=b"canny", image=encoded(Image.new("RGB", (8, 40))))
    assert outputs["control_pixels"].shape == outputs["pixels"].shape == (1, 40, 8, 3)
    assert edge.made == []


def test_a_control_is_made_of_the_image_at_the_size_of_the_output(edge: Edge, encoded: Write) -> None:
    edge.rules = CANNY
    files = [encoded(Image.new("RGB", (100, 50))), encoded(Image.new("RGB", (9, 9)))]
    outputs = edge(control_image=files, control_preprocess=True, size=b"32x16")
    thread = threading.current_thread().name
    assert edge.made == [("canny", (16, 32, 3), thread)] * 2
    assert np.all(outputs["control_pixels"] == 7)


def test_the_type_that_is_made_is_the_one_of_the_request(edge: Edge, encoded: Write, monkeypatch: Any) -> None:
    edge.rules = CONTROLLED
    monkeypatch.setattr(edge.preprocessor._controls, "check", lambda types: None)
    file = encoded(Image.new("RGB", (16, 16)))
    edge(control_image=[file, file], control_type=[b"depth", b"canny"], control_preprocess=True)
    assert [kind for kind, *_ in edge.made] == ["depth", "canny"]


# (rules, inputs, field, what the message says); the images are such as would be refused if they were looked at
REFUSED: list[tuple[RequestRules, dict[str, Any], str, str]] = [
    (NEITHER, {"reference_image": b"!"}, "reference_image", "the model toy does no editing; it does text-to-image"),
    (NEITHER, {"control_image": b"!"}, "control_image", "the model toy has no control models"),
    (EDITS, {"image": b"!"}, "image", "no image-to-image; it does text-to-image, editing (reference_image)"),
    (EDITS, {"reference_image": [b"!"] * 4}, "reference_image", "4 images; the model toy takes at most 3"),
    (EDITS, {"reference_image": b"!", "image": b"!"}, "reference_image", "given with image"),
    (EDITS, {"reference_image": b"!", "mask": b"!"}, "mask", "given without image"),
    (CONTROLLED, {"control_image": b"!"}, "control_type", "missing; the model toy has several: canny, depth"),
    (CONTROLLED, {"control_image": b"!", "control_type": b"pose"}, "control_type", "'pose' is not one of canny, depth"),
    (CONTROLLED, {"control_image": [b"!"] * 3}, "control_image", "3 images; the model toy takes at most 2"),
    (
        CONTROLLED,
        {"control_image": b"!", "control_type": b"canny", "image": b"!", "mask": b"!"},
        "control_image",
        "the model toy takes none for inpainting; for text-to-image, image-to-image it does",
    ),
    (
        CONTROLLED,
        {"control_image": b"!", "control_type": b"depth", "control_preprocess": True},
        "control_preprocess",
        "control type 'depth' needs depth_model of image_preprocess, not set on this server",
    ),
    (CANNY, {"control_image": b"!", "control_scale": 2.5}, "control_scale", "2.5 is outside the allowed range, 0..2"),
    (CANNY, {"control_image": b"!", "control_end": 0.0}, "control_end", "0 is outside the allowed range"),
    (CANNY, {"return_control": True}, "return_control", "given without control_image"),
    (
        RequestRules(),  # of an edge that is served alone
        {"control_image": b"!", "control_preprocess": True},
        "control_type",
        "missing; it says what control_preprocess is to make",
    ),
]


@pytest.mark.parametrize(("rules", "values", "field", "says"), REFUSED)
def test_what_the_model_does_not_take_is_refused_before_any_image_is_looked_at(
    edge: Edge, rules: RequestRules, values: dict[str, Any], field: str, says: str
) -> None:
    edge.rules = rules
    with pytest.raises(InvalidArgument, match=re.escape(says)) as refused:
        edge(**values)
    assert type(refused.value) is InvalidArgument
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("rules", "values"),
    [
        (EDITS, {"reference_image": b"!"}),
        (CANNY, {"control_image": b"!"}),
        (CANNY, {"control_image": b"!", "image": b"!", "mask": b"alpha"}),  # only the image shows whether it is a mask
        (RequestRules(), {"control_image": b"!", "reference_image": b"!"}),
    ],
)
def test_what_the_model_takes_is_looked_at(edge: Edge, rules: RequestRules, values: dict[str, Any]) -> None:
    edge.rules = rules
    with pytest.raises(ImageRejected):
        edge(**values)


def test_a_reference_that_is_too_small_is_refused_by_its_field(edge: Edge, encoded: Write) -> None:
    files = [encoded(Image.new("RGB", (16, side))) for side in (16, 15)]
    with pytest.raises(ImageRejected, match="has 16x15 pixels; each side is 16 or more for the model toy") as refused:
        edge(reference_image=files)
    assert refused.value.field == "reference_image[1]"
    assert refused.value.http_status == 400


def test_it_knows_which_controls_it_can_make(edge: Edge) -> None:
    assert "canny" in edge.preprocessor.control_preprocessors
    assert "depth" not in edge.preprocessor.control_preprocessors
