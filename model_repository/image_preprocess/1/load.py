"""All images of one request, from what the client sent to one array of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from decode import decode_image, decode_mask
from fetch import Fetcher
from imagegen.errors import ImageRejected
from loading_settings import LoadingSettings
from refusal import Refused
from source import Url, parse_source

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class LoadedImages:
    """The input images of one request.

    Attributes:
        pixels: uint8 RGB [N, H, W, 3], in the order of the request.
        mask: uint8 [1, H, W], 255 = repaint, or None.
    """

    pixels: Pixels
    mask: Pixels | None


class ImageLoader:
    """Fetches and decodes images in a bounded pool of threads. `load` may be called from several threads at once.

    A task of the pool never waits for another one, so requests that fill the pool delay but cannot block each other.
    """

    def __init__(self, settings: LoadingSettings) -> None:
        self._settings = settings
        self._fetcher = Fetcher(settings)
        self._pool = ThreadPoolExecutor(settings.fetch_threads, thread_name_prefix="image-load")

    def load(self, images: Sequence[bytes], mask: bytes | None, size: tuple[int, int] | None) -> LoadedImages:
        """Load the images of one request, all at once.

        Args:
            images: 1 or more, each a URL, a data URL, base64 or file bytes.
            mask: the same for the mask, or None. It has the original size of the first image.
            size: (width, height) in pixels that everything is resized to; None for the size of the first image.

        Raises:
            ImageRejected: lists everything that is wrong, by field: `image[0]: ...; image[2]: ...; mask: ...`.
        """
        if not images:
            raise ValueError("no images to load")
        image_tasks = [self._pool.submit(self._image, blob) for blob in images]
        mask_task = None if mask is None else self._pool.submit(self._mask, mask)
        problems: dict[str, str] = {}
        pixels = [_result(task, f"image[{index}]", problems) for index, task in enumerate(image_tasks)]
        mask_pixels = None if mask_task is None else _result(mask_task, "mask", problems)
        first = pixels[0]
        if first is not None and mask_pixels is not None and _size(first) != _size(mask_pixels):
            problems["mask"] = f"has {_shown(mask_pixels)} pixels but image[0] has {_shown(first)}; both must be equal"
        if problems:
            raise _rejection(problems)
        complete = [image for image in pixels if image is not None]
        target = size or _size(complete[0])
        resized = self._pool.map(lambda image: _resized(image, target, Image.Resampling.LANCZOS), complete)
        return LoadedImages(
            pixels=np.stack(list(resized)),
            mask=None if mask_pixels is None else _resized(mask_pixels, target, Image.Resampling.NEAREST)[np.newaxis],
        )

    def close(self) -> None:
        """Wait for what is being loaded and close all connections. No `load` may start afterwards."""
        self._pool.shutdown()
        self._fetcher.close()

    def _image(self, blob: bytes) -> Pixels:
        return decode_image(self._encoded(blob), self._settings)

    def _mask(self, blob: bytes) -> Pixels:
        return decode_mask(self._encoded(blob), self._settings)

    def _encoded(self, blob: bytes) -> bytes:
        source = parse_source(blob, self._settings)
        return self._fetcher.fetch(source.address) if isinstance(source, Url) else source.data


def _result(task: Future[Pixels], field: str, problems: dict[str, str]) -> Pixels | None:
    """What `task` loaded; None when it was refused, which is then noted in `problems`."""
    try:
        return task.result()
    except Refused as refusal:
        problems[field] = str(refusal)
        return None


def _rejection(problems: dict[str, str]) -> ImageRejected:
    (field, problem), *others = problems.items()
    return ImageRejected(field, "; ".join([problem, *(f"{other}: {text}" for other, text in others)]))


def _size(pixels: Pixels) -> tuple[int, int]:
    """(width, height) of [H, W] or [H, W, 3]."""
    return pixels.shape[1], pixels.shape[0]


def _shown(pixels: Pixels) -> str:
    width, height = _size(pixels)
    return f"{width}x{height}"


def _resized(pixels: Pixels, size: tuple[int, int], resampling: Image.Resampling) -> Pixels:
    return pixels if _size(pixels) == size else np.asarray(Image.fromarray(pixels).resize(size, resampling))
