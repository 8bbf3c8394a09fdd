"""All images of one request, from what the client sent to pixels.

blob ── source ─┬─ Url ──── downloads ─┐
                └─ Encoded ────────────┴─ file ── decode, resize ── pixels
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

import numpy as np

from imagegen.api.errors import ImageRejected, Unavailable
from imagegen.api.input_images import InputImages
from imagegen.api.limits import RequestRules
from imagegen.api.tensors import Pixels
from imagegen.images.input.blobs import CONTROL, IMAGE, MASK, REFERENCE, ImageBlobs, kind_of
from imagegen.images.input.concurrency import ConcurrencyLimiter, LimitReached
from imagegen.images.input.decoding import Decoded, Decoders
from imagegen.images.input.downloads import Downloads
from imagegen.images.input.errors import FetchFailed, ImageError
from imagegen.images.input.fetch import Fetched, Fetcher
from imagegen.images.input.metrics import InputMetrics
from imagegen.images.input.settings import InputSettings
from imagegen.images.input.source import Encoded, Url, parse_source
from imagegen.images.input.url_cache import UrlCache
from imagegen.metrics import Family, Series

_Value = TypeVar("_Value")


@dataclass(frozen=True, eq=False)
class LoadedImages:
    """The input images of one request.

    Attributes:
        images: decoded, in the order of the request.
        warnings: what the client should know though nothing failed.
        paths: where the files are kept, by field; empty unless the server keeps them.
    """

    images: InputImages
    warnings: tuple[str, ...] = ()
    paths: dict[str, str] = field(default_factory=dict)


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
        self._fetcher = Fetcher(settings)
        cache = UrlCache(settings.url_cache_bytes if settings.url_cache_s else 0)
        self._metrics = InputMetrics(new_series, self._fetcher, cache)
        self._downloads = Downloads(
            self._fetcher.fetch, cache, settings.max_url_requests, settings.fetch_timeout_s, self._metrics.fetched
        )
        self._url_requests = ConcurrencyLimiter(settings.max_url_requests)
        self._decoders = Decoders(settings, self._metrics.decoded)

    def load(self, blobs: ImageBlobs, size: tuple[int, int] | None, rules: RequestRules) -> LoadedImages:
        """Load the images of one request, all at once.

        Args:
            blobs: 1 or more. The mask has the original size of the first image.
            size: (width, height) in pixels that images, mask and controls are made to cover; None for the size of the
                first image, or without one of the first control, scaled down where it is above the limits and rounded
                down to the granularity. References keep their proportions and are only scaled down to the limits.
            rules: these limits, this granularity, this least side of a reference.

        Raises:
            ImageRejected: lists everything that is wrong, by field: `image[0]: ...; mask: ...; control_image[0]: ...`.
            Unavailable: too many requests with URLs are being loaded.
        """
        by_field = blobs.by_field()
        if not by_field:
            raise ValueError("no images to load")
        problems: dict[str, ImageError] = {}
        sources = _each(by_field, lambda _, blob: parse_source(blob, self._settings), problems)
        with self._admission(sources):
            files = self._files(sources, problems)
            first_image = files.get(f"{IMAGE}[0]")
            if blobs.mask_is_alpha and first_image is not None and self._is_transparent(first_image):
                files[MASK] = first_image
            followed = first_image if blobs.images else files.get(f"{CONTROL}[0]")
            decoded = self._decode(files, size or self._auto_size(followed, rules), rules, problems)
        first, mask = decoded.get(f"{IMAGE}[0]"), decoded.get(MASK)
        if first and mask and first.header.size != mask.header.size:
            problems[MASK] = ImageError(
                f"has {_shown(mask.header.size)} pixels but image[0] has {_shown(first.header.size)};"
                " both must be equal"
            )
        if problems:
            self._reject([(name, problems[name]) for name in by_field if name in problems])
        return LoadedImages(
            _input_images(decoded, list(by_field)),
            warnings=tuple(f"{name}: {text}" for name in by_field for text in decoded[name].warnings),
            paths={name: path for name in by_field if (path := decoded[name].path) is not None},
        )

    def close(self) -> None:
        """Wait for what is being loaded and close all connections. No `load` may start afterwards."""
        self._fetcher.close()
        self._downloads.close()
        self._decoders.close()
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
        self,
        files: Mapping[str, Encoded],
        size: tuple[int, int],
        rules: RequestRules,
        problems: dict[str, ImageError],
    ) -> dict[str, Decoded]:
        tasks = {name: self._decoders.start(name, file, size, rules) for name, file in files.items()}
        wait(tasks.values())
        return _each(tasks, lambda _, task: task.result(), problems)

    def _is_transparent(self, file: Encoded) -> bool:
        """Whether a file has transparent parts; false for one that is refused, which is found again and reported."""
        try:
            return self._decoders.is_transparent(file)
        except ImageError:
            return False

    def _auto_size(self, followed: Encoded | None, rules: RequestRules) -> tuple[int, int]:
        """The size that a file asks for; any, when it is refused: the others are only checked then."""
        try:
            if followed is not None:
                return self._decoders.auto_size(followed, rules)
        except ImageError:
            pass  # found again and reported with the others
        return rules.granularity_px, rules.granularity_px

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


def _input_images(decoded: Mapping[str, Decoded], fields: Sequence[str]) -> InputImages:
    """The decoded images, each kind in the order of its fields."""
    of_kind = {
        kind: [decoded[name].pixels for name in fields if kind_of(name) == kind] for kind in (IMAGE, REFERENCE, CONTROL)
    }
    mask = decoded.get(MASK)
    return InputImages(
        images=_stacked(of_kind[IMAGE]),
        mask=None if mask is None else mask.pixels[np.newaxis],
        references=tuple(of_kind[REFERENCE]),
        controls=_stacked(of_kind[CONTROL]),
    )


def _stacked(pixels: Sequence[Pixels]) -> Pixels | None:
    return np.stack(pixels) if pixels else None


def _wait(download: Future[Fetched], deadline: float) -> Encoded:
    try:
        fetched = download.result(max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        raise FetchFailed("timed out") from None
    return Encoded(fetched.body, "url", fetched.declared_type)


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
