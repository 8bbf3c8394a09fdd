"""Depth images: near is white, far black, from a tiny Depth Anything."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import DepthAnythingForDepthEstimation, GLPNConfig, GLPNForDepthEstimation, GLPNImageProcessorPil

from imagegen.api.errors import NonFinite
from imagegen.images.control.depth import DepthEstimator, depth_image

Pixels = npt.NDArray[np.uint8]


def test_the_nearest_is_white_and_the_farthest_black() -> None:
    nearness = np.array([[-1.0, 0.0], [1.0, 3.0]], np.float32)
    image = depth_image(nearness)
    assert image.dtype == np.uint8
    assert image[:, :, 0].tolist() == [[0, 64], [128, 255]]
    assert np.array_equal(image, np.repeat(image[:, :, :1], 3, axis=2))


def test_what_is_equally_far_everywhere_is_black() -> None:
    assert not depth_image(np.full((4, 4), 7.0, np.float32)).any()


def test_a_depth_image_has_the_size_of_its_photo_and_all_the_range(
    depth_folder: Callable[..., Path], executor: Executor, photo: Pixels
) -> None:
    image = DepthEstimator(str(depth_folder()), executor)(photo)
    assert image.dtype == np.uint8
    assert image.shape == photo.shape
    assert (image.min(), image.max()) == (0, 255)


def test_it_is_what_the_model_of_transformers_says(
    depth_folder: Callable[..., Path], executor: Executor, photo: Pixels
) -> None:
    folder = depth_folder()
    image = DepthEstimator(str(folder), executor)(photo[:56, :56])  # the size of the model: nothing is scaled
    mean, deviation = (torch.tensor(values)[:, None, None] for values in ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]))
    values = (torch.from_numpy(photo[:56, :56].copy()).permute(2, 0, 1) / 255 - mean) / deviation
    with torch.inference_mode():
        model: Any = DepthAnythingForDepthEstimation.from_pretrained(folder)
        expected = depth_image(model(values[None].float()).predicted_depth[0].numpy())
    assert np.abs(image.astype(int) - expected.astype(int)).max() <= 1


def test_metres_are_turned_round(depth_folder: Callable[..., Path], executor: Executor, photo: Pixels) -> None:
    torch.manual_seed(1)
    relative = DepthEstimator(str(depth_folder()), executor)(photo)
    torch.manual_seed(1)
    metric = DepthEstimator(str(depth_folder(depth_estimation_type="metric", max_depth=20)), executor)(photo)
    # The same weights: where the one says near, the other says many metres.
    assert np.corrcoef(relative.ravel(), metric.ravel())[0, 1] < -0.8


def test_no_distance_at_all_is_a_distance_too(
    depth_folder: Callable[..., Path], executor: Executor, photo: Pixels
) -> None:
    folder = depth_folder(depth_estimation_type="metric", max_depth=20)
    model: Any = DepthAnythingForDepthEstimation.from_pretrained(folder)
    with torch.no_grad():
        model.head.conv3.bias.fill_(-200.0)  # 0 m everywhere, of which the inverse is infinite
    model.save_pretrained(folder)
    assert not DepthEstimator(str(folder), executor)(photo).any()


@pytest.mark.parametrize("shape", [(8, 2048, 3), (2048, 8, 3), (1, 64, 3), (1, 1, 3)])
def test_thin_images_have_depth_too(
    shape: tuple[int, ...], depth_folder: Callable[..., Path], executor: Executor
) -> None:
    assert DepthEstimator(str(depth_folder()), executor)(np.zeros(shape, np.uint8)).shape == shape


def test_images_of_several_threads_are_those_of_one(depth_folder: Callable[..., Path], executor: Executor) -> None:
    estimate = DepthEstimator(str(depth_folder()), executor)
    photos = list(np.random.default_rng(1).integers(0, 256, (8, 40, 48, 3), np.uint8))
    alone = [estimate(photo) for photo in photos]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(estimate, photos))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def test_a_model_of_another_kind_is_refused_at_the_start(
    depth_folder: Callable[..., Path], detector_folder: Callable[..., Path], executor: Executor
) -> None:
    folder = detector_folder()
    with pytest.raises(ValueError, match=f"^parameter depth_model: {folder} cannot be loaded"):
        DepthEstimator(str(folder), executor)


def test_depth_of_another_family_is_refused_for_it_may_mean_the_opposite(tmp_path: Path, executor: Executor) -> None:
    config = GLPNConfig(
        num_encoder_blocks=1,
        depths=[1],
        sr_ratios=[1],
        hidden_sizes=[8],
        patch_sizes=[7],
        strides=[4],
        num_attention_heads=[1],
        mlp_ratios=[1],
        decoder_hidden_size=8,
    )
    GLPNForDepthEstimation(config).save_pretrained(tmp_path)
    GLPNImageProcessorPil().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is of the kind glpn; depth_anything is supported"):
        DepthEstimator(str(tmp_path), executor)


def test_weights_that_compute_no_numbers_are_an_error_that_names_them(
    depth_folder: Callable[..., Path], executor: Executor
) -> None:
    folder = depth_folder()
    model: Any = DepthAnythingForDepthEstimation.from_pretrained(folder)
    with torch.no_grad():
        model.head.conv3.weight.fill_(float("nan"))
    model.save_pretrained(folder)
    with pytest.raises(NonFinite, match="broken weights in depth_model of image_preprocess"):
        DepthEstimator(str(folder), executor)
