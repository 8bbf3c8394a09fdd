"""How near what an image shows is, by a Depth Anything model of transformers."""

from __future__ import annotations

import math
from concurrent.futures import Executor
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from imagegen.api.errors import NonFinite
from imagegen.images.control.pretrained import load_pretrained

_NEAREST_M = 0.1  # of a model that measures metres: what is nearer is as white, so that it cannot blacken the rest


class DepthEstimator:
    """Makes depth images. Safe from any thread.

    Args:
        source: a folder or hub id of the Depth Anything family (1 or 2; relative or metric).
        executor: where the model runs; one thread, so that torch's own threads are not multiplied.

    Raises:
        ValueError: it cannot be loaded, or is another model.
        NonFinite: its weights are broken.
    """

    def __init__(self, source: str, executor: Executor) -> None:
        self._executor = executor
        self._processor, self._model = load_pretrained("depth_model", source, "AutoModelForDepthEstimation")
        config = self._model.config
        if config.model_type != "depth_anything":  # of others it would have to be known whether near is much or little
            raise ValueError(
                f"parameter depth_model: {source} is of the kind {config.model_type}; depth_anything is supported"
            )
        self._is_metric = config.depth_estimation_type == "metric"
        self._most_patches = self._processor.size["width"] // config.patch_size
        self(np.zeros((64, 64, 3), np.uint8))  # what loads but does not run ends the start too

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The depth image of uint8 RGB [H, W, 3]: uint8 RGB [H, W, 3], nearest white, farthest black.

        Raises:
            NonFinite: the model computed what is no number.
        """
        nearness = self._executor.submit(self._nearness, pixels).result()
        if not np.isfinite(nearness).all():
            raise NonFinite("control_preprocess", "broken weights in depth_model of image_preprocess")
        return depth_image(nearness)

    def _nearness(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """How near each pixel is, float32 [H, W]; the more, the nearer."""
        import torch

        height, width = pixels.shape[:2]
        with torch.inference_mode():
            inputs = self._processor(images=_thick_enough(pixels, self._most_patches), return_tensors="pt")
            outputs = self._model(**inputs)
            (result,) = self._processor.post_process_depth_estimation(outputs, target_sizes=[(height, width)])
            depth = result["predicted_depth"]  # [H, W], metres or, of a relative model, one by distance
            nearness: Any = 1 / depth.clamp(min=_NEAREST_M) if self._is_metric else depth
            return np.asarray(nearness.numpy()).reshape(height, width)  # sides of 1 px were dropped


def depth_image(nearness: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """The image that ControlNets for depth were trained with (MiDaS in github.com/lllyasviel/ControlNet).

    Args:
        nearness: finite float32 [H, W]; the more, the nearer.

    Returns:
        uint8 RGB [H, W, 3], the farthest 0 and the nearest 255; black where all is equally far.
    """
    lowest, highest = nearness.min(), nearness.max()
    scale = 255 / (highest - lowest) if highest > lowest else 0.0
    grey = np.rint((nearness - lowest) * scale).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _thick_enough(pixels: npt.NDArray[np.uint8], most_patches: int) -> Image.Image:
    """The image, stretched where a side is so short that, at the model's size, it would be less than a patch."""
    image = Image.fromarray(pixels)
    shortest = math.ceil(max(image.size) / most_patches)
    width, height = (max(side, shortest) for side in image.size)
    return image if (width, height) == image.size else image.resize((width, height))
