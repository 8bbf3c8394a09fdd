"""Control types are made by their names, or refused with what is missing."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from imagegen.api.errors import InvalidArgument
from imagegen.images.control.canny import canny_edges
from imagegen.images.control.preprocessors import ControlPreprocessors
from imagegen.images.input.settings import InputSettings

Pixels = npt.NDArray[np.uint8]
Write = Callable[..., Path]

ALL = ("canny", "edge", "edges", "depth", "pose", "openpose")


@pytest.mark.parametrize("kind", ["canny", "edge", "edges"])
def test_edges_need_no_model(kind: str, photo: Pixels) -> None:
    preprocessors = ControlPreprocessors(InputSettings())
    assert preprocessors.names() == ("canny", "edge", "edges")
    preprocessors.check([kind, kind])
    assert np.array_equal(preprocessors.make(kind, photo), canny_edges(photo))
    preprocessors.close()


def test_nothing_asked_for_is_nothing_to_refuse() -> None:
    ControlPreprocessors(InputSettings()).check([])


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        ("depth", "depth_model"),
        ("pose", "pose_model and pose_detector"),
        ("openpose", "pose_model and pose_detector"),
    ],
)
def test_a_type_whose_model_is_not_configured_is_refused_with_the_parameter(kind: str, missing: str) -> None:
    preprocessors = ControlPreprocessors(InputSettings())
    with pytest.raises(InvalidArgument, match=f"control type '{kind}' needs {missing} of image_preprocess") as refused:
        preprocessors.check(["canny", kind])
    assert refused.value.field == "control_preprocess"


@pytest.mark.parametrize("given", ["pose_model", "pose_detector"])
def test_of_the_two_models_for_poses_the_one_that_is_missing_is_named(given: str) -> None:
    preprocessors = ControlPreprocessors(InputSettings.model_validate({given: "somewhere"}))
    (missing,) = {"pose_model", "pose_detector"} - {given}
    with pytest.raises(InvalidArgument, match=f"'pose' needs {missing} of image_preprocess"):
        preprocessors.check(["pose"])


@pytest.mark.parametrize("kind", ["tile", "", "Canny"])
def test_a_type_that_nothing_makes_is_refused_with_those_that_can(kind: str, photo: Pixels) -> None:
    preprocessors = ControlPreprocessors(InputSettings())
    expected = f"^invalid_argument: control_preprocess: control type '{kind}' cannot be made from an image; canny, edge"
    with pytest.raises(InvalidArgument, match=expected):
        preprocessors.check([kind])
    with pytest.raises(InvalidArgument, match=expected):
        preprocessors.make(kind, photo)


def test_with_all_models_every_type_is_made(
    depth_folder: Write, pose_folder: Write, detector_folder: Write, photo: Pixels
) -> None:
    settings = InputSettings(
        depth_model=str(depth_folder()), pose_model=str(pose_folder()), pose_detector=str(detector_folder())
    )
    preprocessors = ControlPreprocessors(settings)
    assert preprocessors.names() == ALL
    preprocessors.check(ALL)
    images = {kind: preprocessors.make(kind, photo) for kind in ALL}
    assert {image.shape for image in images.values()} == {photo.shape}
    assert np.array_equal(images["pose"], images["openpose"])
    assert len({images[kind].tobytes() for kind in ("canny", "depth", "pose")}) == 3
    preprocessors.close()


@pytest.mark.parametrize("parameter", ["depth_model", "pose_detector"])
def test_a_model_that_cannot_be_loaded_ends_the_start_with_its_name(parameter: str, depth_folder: Write) -> None:
    given = {"depth_model": str(depth_folder()), "pose_model": "no/where/at/all", "pose_detector": "nor/that/one"}
    settings = InputSettings.model_validate(given | {parameter: "gone"})
    before = threading.active_count()
    with pytest.raises(
        ValueError, match=f"^parameter {parameter}: gone is neither a folder that is there nor a hub id"
    ):
        ControlPreprocessors(settings)
    assert threading.active_count() == before


def test_libraries_are_not_loaded_before_they_are_needed() -> None:
    program = """
import sys
from imagegen.images.control.preprocessors import ControlPreprocessors
from imagegen.images.input.settings import InputSettings
ControlPreprocessors(InputSettings()).check(["canny"])
assert not {"cv2", "torch", "transformers", "scipy"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
