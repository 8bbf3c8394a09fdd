"""Images of skeletons, from a tiny detector and a tiny ViTPose."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from transformers import RTDetrForObjectDetection, RTDetrImageProcessorPil, VitPoseForPoseEstimation

from imagegen.api.errors import NonFinite
from imagegen.images.control import pose
from imagegen.images.control.pose import PoseEstimator
from imagegen.images.control.skeleton import draw_skeletons

Pixels = npt.NDArray[np.uint8]
Write = Callable[..., Path]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[npt.NDArray[np.float32]]:
    """The joints of everybody whose skeleton was drawn, of each image."""
    drawn: list[npt.NDArray[np.float32]] = []

    def spy(people: npt.NDArray[np.float32], height: int, width: int) -> Pixels:
        drawn.append(people)
        return draw_skeletons(people, height, width)

    monkeypatch.setattr(pose, "draw_skeletons", spy)
    return drawn


def bias(folder: Path, labels: tuple[float, float]) -> Path:
    """Let the detector be that sure of each of its labels, everywhere."""
    model: Any = RTDetrForObjectDetection.from_pretrained(folder)
    with torch.no_grad():
        for head in model.model.decoder.class_embed:
            head.bias[:] = torch.tensor(labels)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("experts", [1, 2])
def test_everybody_who_is_detected_has_a_skeleton(
    experts: int,
    pose_folder: Write,
    detector_folder: Write,
    executor: Executor,
    photo: Pixels,
    drawn: list[npt.NDArray[np.float32]],
) -> None:
    estimate = PoseEstimator(str(pose_folder(experts=experts)), str(detector_folder(queries=3)), executor)
    image = estimate(photo)
    assert image.dtype == np.uint8
    assert image.shape == photo.shape
    assert image.any()
    people = drawn[-1]
    assert people.dtype == np.float32
    assert people.shape == (3, 17, 3)
    assert np.array_equal(image, draw_skeletons(people, 96, 128))


def test_the_surest_is_drawn_where_the_detector_saw_it(
    pose_folder: Write,
    detector_folder: Write,
    executor: Executor,
    photo: Pixels,
    drawn: list[npt.NDArray[np.float32]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = detector_folder()
    monkeypatch.setattr(pose, "MOST_PEOPLE", 1)
    PoseEstimator(str(pose_folder()), str(folder), executor)(photo)
    model: Any = RTDetrForObjectDetection.from_pretrained(folder)
    processor = RTDetrImageProcessorPil.from_pretrained(folder)
    with torch.inference_mode():
        found = model(**processor(images=Image.fromarray(photo), return_tensors="pt"))
    surest = found.logits[0, :, 1].argmax()
    x, y, width, height = (found.pred_boxes[0, surest] * torch.tensor([128, 96, 128, 96])).tolist()
    # ViTPose looks at a box of its own proportions, a quarter larger, and half a cell of its map beyond.
    reach = max(width, height) * 4 / 3 * 1.25 * 0.6
    (joints,) = drawn[-1]
    assert np.abs(joints[:, 0] - x).max() <= reach
    assert np.abs(joints[:, 1] - y).max() <= reach


@pytest.mark.parametrize("labels", [(-9.0, -9.0), (9.0, -9.0)])  # nothing, and bicycles
def test_where_nobody_is_the_image_is_black(
    labels: tuple[float, float], pose_folder: Write, detector_folder: Write, executor: Executor, photo: Pixels
) -> None:
    folder = bias(detector_folder(), labels)
    image = PoseEstimator(str(pose_folder()), str(folder), executor)(photo)
    assert image.shape == photo.shape
    assert not image.any()


def test_people_of_no_size_are_left_out(
    pose_folder: Write, detector_folder: Write, executor: Executor, photo: Pixels
) -> None:
    folder = detector_folder()
    model: Any = RTDetrForObjectDetection.from_pretrained(folder)
    with torch.no_grad():
        for head in model.model.decoder.bbox_embed:
            head.layers[-1].weight[2:] = 0
            head.layers[-1].bias[2:] = -50.0
    model.save_pretrained(folder)
    assert not PoseEstimator(str(pose_folder()), str(folder), executor)(photo).any()


def test_images_of_several_threads_are_those_of_one(
    pose_folder: Write, detector_folder: Write, executor: Executor
) -> None:
    estimate = PoseEstimator(str(pose_folder()), str(detector_folder()), executor)
    photos = list(np.random.default_rng(1).integers(0, 256, (6, 40, 48, 3), np.uint8))
    alone = [estimate(photo) for photo in photos]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(estimate, photos))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def test_a_detector_that_knows_no_people_is_refused_at_the_start(
    pose_folder: Write, detector_folder: Write, executor: Executor
) -> None:
    folder = detector_folder(label="car")
    with pytest.raises(ValueError, match=f"^parameter pose_detector: {folder} detects no 'person'"):
        PoseEstimator(str(pose_folder()), str(folder), executor)


def test_a_model_of_other_joints_is_refused_at_the_start(
    pose_folder: Write, detector_folder: Write, executor: Executor
) -> None:
    folder = pose_folder(joints=21)
    with pytest.raises(ValueError, match=f"^parameter pose_model: {folder} has 21 joints; COCO's 17 are needed"):
        PoseEstimator(str(folder), str(detector_folder()), executor)


def test_models_in_each_others_place_are_refused_at_the_start(
    pose_folder: Write, detector_folder: Write, executor: Executor
) -> None:
    with pytest.raises(ValueError, match=r"^parameter pose_detector: .* cannot be loaded"):
        PoseEstimator(str(detector_folder()), str(pose_folder()), executor)
    folder = detector_folder()
    with pytest.raises(ValueError, match=f"^parameter pose_model: {folder}"):
        PoseEstimator(str(folder), str(detector_folder()), executor)


def test_weights_that_compute_no_numbers_end_the_start_though_nobody_is_to_be_seen_then(
    pose_folder: Write, detector_folder: Write, executor: Executor
) -> None:
    broken = pose_folder()
    model: Any = VitPoseForPoseEstimation.from_pretrained(broken)
    with torch.no_grad():
        model.head.conv.weight.fill_(float("nan"))
    model.save_pretrained(broken)
    with pytest.raises(NonFinite, match="broken weights in pose_model of image_preprocess"):
        PoseEstimator(str(broken), str(bias(detector_folder(), (-9.0, -9.0))), executor)
    broken = bias(detector_folder(), (float("nan"), float("nan")))
    with pytest.raises(NonFinite, match="broken weights in pose_detector of image_preprocess"):
        PoseEstimator(str(pose_folder()), str(broken), executor)
