"""All images of one request, from what the client sent to one array of pixels.

blob ── source ─┬─ Url ──── downloads ─┐
                └─ Encoded ────────────┴─ file ── decode, resize ── pixels
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np
import numpy.typing as npt

from imagegen.api.errors import ImageRejected, Unavailable
from imagegen.api.limits import RequestRules, fit_within
from imagegen.api.tensors import MASK_FROM_ALPHA
from imagegen.file_names import native
from imagegen.images.input.concurrency import ConcurrencyLimiter, LimitReached
from imagegen.images.input.decode import Header, decode_image, decode_mask, has_transparency, read_header
from imagegen.images.input.downloads import Downloads
from imagegen.images.input.errors import FetchFailed, ImageError
from imagegen.images.input.fetch import Fetched, Fetcher
from imagegen.images.input.input_store import InputStore
from imagegen.images.input.media_type import is_wrong_type, shown_type
from imagegen.images.input.metrics import InputMetrics
from imagegen.images.input.settings import InputSettings
from imagegen.images.input.source import Encoded, Url, parse_source
from imagegen.images.input.url_cache import UrlCache
from imagegen.metrics import Family, Series

Pixels = npt.NDArray[np.uint8]
_Value = TypeVar("_Value")
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LoadedImages:
    """The input images of one request.

    Attributes:
        pixels: uint8 RGB [N, H, W, 3], in the order of the request.
        mask: uint8 [1, H, W], 255 = repaint, or None.
        warnings: what the client should know though nothing failed.
        paths: where the files are kept, by field; empty unless the server keeps them.
    """

    pixels: Pixels
    mask: Pixels | None
    warnings: tuple[str, ...] = ()
    paths: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Decoded:
    pixels: Pixels
    header: Header
    path: str | None
    warnings: tuple[str, ...]


class ImageLoader:
    """Fetches and decodes images in bounded pools of threads. `load` may be called from several threads at once.

    A task of a pool never waits for another one, so requests that fill the pools delay but cannot block each other.

    Args:
        settings: limits, timeouts, caches.
        new_series: makes a series of the metrics backend.

    Raises:
        OSError: `input_save_path` cannot be written to.
    """

    def __init__(self, settings: InputSettings, new_series: Callable[[Family, dict[str, str]], Series]) -> None:
        self._settings = settings
        kept = settings.input_save_path
        self._input_store = None if kept is None else InputStore(Path(native(kept)))
        self._fetcher = Fetcher(settings)
        cache = UrlCache(settings.url_cache_bytes if settings.url_cache_s else 0)
        self._metrics = InputMetrics(new_series, self._fetcher, cache)
        self._downloads = Downloads(
            self._fetcher.fetch, cache, settings.max_url_requests, settings.fetch_timeout_s, self._metrics.fetched
        )
        self._url_requests = ConcurrencyLimiter(settings.max_url_requests)
        self._decoders = ThreadPoolExecutor(settings.decoders, thread_name_prefix="decode")

    def load(
        self, images: Sequence[bytes], mask: bytes | None, size: tuple[int, int] | None, rules: RequestRules
    ) -> LoadedImages:
        """Load the images of one request, all at once.

        Args:
            images: 1 or more, each a URL, a data URL, base64 or file bytes.
            mask: the same for the mask, or None. It has the original size of the first image. `MASK_FROM_ALPHA` takes
                the transparent parts of the first image; when it has none there is no mask.
            size: (width, height) in pixels that everything is made to cover; None for the size of the first image,
                scaled down where it is above the limits and rounded down to the granularity.
            rules: these limits and this granularity.

        Raises:
            ImageRejected: lists everything that is wrong, by field: `image[0]: ...; image[2]: ...; mask: ...`.
            Unavailable: too many requests with URLs are being loaded.
        """
        if not images:
            raise ValueError("no images to load")
        blobs = {f"image[{index}]": blob for index, blob in enumerate(images)}
        if mask is not None and mask != MASK_FROM_ALPHA.encode():
            blobs["mask"] = mask
        problems: dict[str, ImageError] = {}
        sources = _each(blobs, lambda _, blob: parse_source(blob, self._settings), problems)
        with self._admission(sources):
            files = self._files(sources, problems)
            if mask == MASK_FROM_ALPHA.encode() and self._is_transparent(files.get("image[0]")):
                files["mask"] = files["image[0]"]
            decoded = self._decode(files, size or self._auto_size(files.get("image[0]"), rules), problems)
        first, decoded_mask = decoded.get("image[0]"), decoded.get("mask")
        if first and decoded_mask and first.header.size != decoded_mask.header.size:
            problems["mask"] = ImageError(
                f"has {_shown(decoded_mask.header.size)} pixels but image[0] has {_shown(first.header.size)};"
                " both must be equal"
            )
        if problems:
            self._reject([(name, problems[name]) for name in blobs if name in problems])
        return LoadedImages(
            pixels=np.stack([decoded[name].pixels for name in blobs if name != "mask"]),
            mask=None if decoded_mask is None else decoded_mask.pixels[np.newaxis],
            warnings=tuple(f"{name}: {text}" for name in blobs for text in decoded[name].warnings),
            paths={name: path for name in blobs if (path := decoded[name].path) is not None},
        )

    def close(self) -> None:
        """Wait for what is being loaded and close all connections. No `load` may start afterwards."""
        self._fetcher.close()
        self._downloads.close()
        self._decoders.shutdown()
        self._metrics.close()

    @contextmanager
    def _admission(self, sources: Mapping[str, Url | Encoded]) -> Iterator[None]:
        """Count a request that has URLs among those that wait for the network, within the block."""
        if not any(isinstance(source, Url) for source in sources.values()):
            yield
            return
        with ExitStack() as held:
            try:
                held.enter_context(self._url_requests.slot())
            except LimitReached:
                self._metrics.overloaded()
                raise Unavailable(
                    f"overloaded: {self._settings.max_url_requests} requests with image URLs are being loaded;"
                    " try again later, or send the images themselves"
                ) from None
            yield

    def _files(self, sources: Mapping[str, Url | Encoded], problems: dict[str, ImageError]) -> dict[str, Encoded]:
        """The file of each image, fetched where it has to be."""
        deadline = time.monotonic() + self._settings.fetch_timeout_s
        running = {name: self._downloads.start(s.address) for name, s in sources.items() if isinstance(s, Url)}

        def file(name: str, source: Url | Encoded) -> Encoded:
            encoded = source if isinstance(source, Encoded) else _wait(running[name], deadline)
            self._metrics.loaded(encoded.kind, len(encoded.data))
            return encoded

        return _each(sources, file, problems)

    def _decode(
        self, files: Mapping[str, Encoded], size: tuple[int, int], problems: dict[str, ImageError]
    ) -> dict[str, _Decoded]:
        tasks = {name: self._decoders.submit(self._decoded, name, file, size) for name, file in files.items()}
        wait(tasks.values())
        return _each(tasks, lambda _, task: task.result(), problems)

    def _is_transparent(self, file: Encoded | None) -> bool:
        """Whether a file has transparent parts; false for one that is refused, which is found again and reported."""
        try:
            return file is not None and self._decoders.submit(has_transparency, file.data, self._settings).result()
        except ImageError:
            return False

    def _auto_size(self, first: Encoded | None, rules: RequestRules) -> tuple[int, int]:
        """The size that the first image asks for; any, when it is refused: the others are only checked then."""
        grain = rules.granularity_px
        try:
            if first is not None:
                header = self._decoders.submit(read_header, first.data, self._settings).result()
                return fit_within(header.size, rules.limits, grain)
        except ImageError:
            pass  # found again and reported with the others
        return grain, grain

    def _decoded(self, name: str, file: Encoded, size: tuple[int, int]) -> _Decoded:
        started_s, data = time.monotonic(), file.data
        header = read_header(data, self._settings)
        pixels = (decode_mask if name == "mask" else decode_image)(data, self._settings, size)
        self._metrics.decoded(time.monotonic() - started_s)
        warnings = [f"has {header.frames} frames; the first is used"] if header.frames > 1 else []
        if is_wrong_type(file.declared_type, header.format):
            warnings.append(f"was declared as {shown_type(file.declared_type)} but is a {header.format} file")
        path = None
        if self._input_store is not None:
            try:
                path = self._input_store.save(data, header.format)
            except OSError:  # a full disk is no reason to refuse images
                _LOGGER.exception("an input image could not be kept")
                warnings.append("could not be kept by the server")
        return _Decoded(pixels, header, path, tuple(warnings))

    def _reject(self, problems: Sequence[tuple[str, ImageError]]) -> NoReturn:
        for _, error in problems:
            self._metrics.failed(error.code)
        (name, first), *others = problems
        raise ImageRejected(name, "; ".join([str(first), *(f"{other}: {error}" for other, error in others)]))


def _each(
    items: Mapping[str, object], call: Callable[..., _Value], problems: dict[str, ImageError]
) -> dict[str, _Value]:
    """`call(name, item)` of each item, without those that raised `ImageError`, which are added to `problems`."""
    results = {}
    for name, item in items.items():
        try:
            results[name] = call(name, item)
        except ImageError as error:
            problems[name] = error.with_traceback(None)  # else it would keep this frame, and all images, alive
    return results


def _wait(download: Future[Fetched], deadline: float) -> Encoded:
    try:
        fetched = download.result(max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        raise FetchFailed("timed out") from None
    return Encoded(fetched.body, "url", fetched.declared_type)


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
