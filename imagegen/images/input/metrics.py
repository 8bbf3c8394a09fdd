"""The metrics of loading images."""

from __future__ import annotations

from collections.abc import Callable

from imagegen.images.input.fetch import Fetcher
from imagegen.images.input.url_cache import UrlCache
from imagegen.metrics import Family, Metrics, Series

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_P = "imagegen_preprocess_"

FAMILIES = (
    Family(_P + "images_total", "counter", "Input images and masks by source: file, base64, data_url, url"),
    Family(_P + "image_bytes_total", "counter", "Bytes of input image files by source"),
    Family(_P + "failures_total", "counter", "Input images and masks refused, by reason"),
    Family(_P + "overloaded_total", "counter", "Requests refused since too many with URLs were waiting"),
    Family(_P + "fetch_seconds", "histogram", "Seconds of a download, all its attempts", _SECONDS),
    Family(_P + "decode_seconds", "histogram", "Seconds from an image file to pixels of the size needed", _SECONDS),
    Family(_P + "fetch_retries_total", "counter", "Attempts to fetch a URL after the first one"),
    Family(_P + "downloads_in_flight", "gauge", "Downloads that have a connection"),
    Family(_P + "cache_hits_total", "counter", "URLs found in the cache"),
    Family(_P + "cache_misses_total", "counter", "URLs not found in the cache"),
    Family(_P + "cache_evictions_total", "counter", "Cached files dropped for want of room"),
    Family(_P + "cache_bytes", "gauge", "Bytes in the cache of fetched files"),
)


class InputMetrics:
    """Counts what the loader does, until `close`.

    Args:
        new_series: makes a series of the metrics backend.
        fetcher: whose retries and downloads are reported.
        cache: whose statistics are reported.
    """

    def __init__(
        self, new_series: Callable[[Family, dict[str, str]], Series], fetcher: Fetcher, cache: UrlCache
    ) -> None:
        self._fetcher = fetcher
        self._cache = cache
        self._metrics = Metrics(FAMILIES, new_series, self._collect)
        self._metrics.start()

    def loaded(self, source: str, size_bytes: int) -> None:
        """The file of an image has come."""
        self._metrics.add(_P + "images_total", source=source)
        self._metrics.add(_P + "image_bytes_total", size_bytes, source=source)

    def failed(self, reason: str) -> None:
        """An image was refused."""
        self._metrics.add(_P + "failures_total", reason=reason)

    def overloaded(self) -> None:
        """A request was refused since too many with URLs were being loaded."""
        self._metrics.add(_P + "overloaded_total")

    def fetched(self, seconds: float) -> None:
        """A download has ended, well or not."""
        self._metrics.observe(_P + "fetch_seconds", seconds)

    def decoded(self, seconds: float) -> None:
        """An image was decoded."""
        self._metrics.observe(_P + "decode_seconds", seconds)

    def close(self) -> None:
        """Hand over the rest and end."""
        self._metrics.close()

    def _collect(self) -> None:
        self._metrics.set_cache(_P, self._cache.statistics)
        self._metrics.add_up_to(_P + "fetch_retries_total", self._fetcher.retries)
        self._metrics.set(_P + "downloads_in_flight", self._fetcher.active)
