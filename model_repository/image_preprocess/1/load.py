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
from imagegen.request import fit_within
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


@dataclass(frozen=True, eq=False)
class _Loaded:
    pixels: Pixels
    original_size: tuple[int, int]


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
            size: (width, height) in pixels that everything is resized to; None for the size of the first image,
                scaled down where it is above the caps.

        Raises:
            ImageRejected: lists everything that is wrong, by field: `image[0]: ...; image[2]: ...; mask: ...`.
        """
        if not images:
            raise ValueError("no images to load")
        image_tasks = [self._pool.submit(self._image, blob, size) for blob in images]
        mask_task = None if mask is None else self._pool.submit(self._mask, mask, size)
        problems: dict[str, str] = {}
        loaded = [_result(task, f"image[{index}]", problems) for index, task in enumerate(image_tasks)]
        loaded_mask = None if mask_task is None else _result(mask_task, "mask", problems)
        first = loaded[0]
        if first is not None and loaded_mask is not None and first.original_size != loaded_mask.original_size:
            problems["mask"] = (
                f"has {_shown(loaded_mask.original_size)} pixels but image[0] has {_shown(first.original_size)};"
                " both must be equal"
            )
        if problems:
            raise _rejection(problems)
        complete = [image.pixels for image in loaded if image is not None]
        target = _size(complete[0])
        resized = self._pool.map(lambda image: _resized(image, target, Image.Resampling.LANCZOS), complete)
        return LoadedImages(
            pixels=np.stack(list(resized)),
            mask=None if loaded_mask is None else loaded_mask.pixels[np.newaxis],
        )

    def close(self) -> None:
        """Wait for what is being loaded and close all connections. No `load` may start afterwards."""
        self._pool.shutdown()
        self._fetcher.close()

    def _image(self, blob: bytes, size: tuple[int, int] | None) -> _Loaded:
        return self._fitted(decode_image(self._encoded(blob), self._settings), size, Image.Resampling.LANCZOS)

    def _mask(self, blob: bytes, size: tuple[int, int] | None) -> _Loaded:
        return self._fitted(decode_mask(self._encoded(blob), self._settings), size, Image.Resampling.NEAREST)

    def _fitted(self, pixels: Pixels, size: tuple[int, int] | None, resampling: Image.Resampling) -> _Loaded:
        """Scaled at once to what is needed at most, so that many large images are not all held in full."""
        original = _size(pixels)
        return _Loaded(_resized(pixels, size or fit_within(original, self._settings), resampling), original)

    def _encoded(self, blob: bytes) -> bytes:
        source = parse_source(blob, self._settings)
        return self._fetcher.fetch(source.address) if isinstance(source, Url) else source.data


def _result(task: Future[_Loaded], field: str, problems: dict[str, str]) -> _Loaded | None:
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


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _resized(pixels: Pixels, size: tuple[int, int], resampling: Image.Resampling) -> Pixels:
    return pixels if _size(pixels) == size else np.asarray(Image.fromarray(pixels).resize(size, resampling))
