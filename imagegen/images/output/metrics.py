"""The metrics of encoding and storing images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from imagegen.api.errors import as_client_error
from imagegen.metrics import Family, Metrics, Series

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50)
_P = "imagegen_postprocess_"

FAMILIES = (
    Family(_P + "images_total", "counter", "Images returned, by format"),
    Family(_P + "image_bytes_total", "counter", "Bytes of returned images as files, by format"),
    Family(_P + "encode_seconds", "histogram", "Seconds to encode the images of a request, by format", _SECONDS),
    Family(_P + "store_seconds", "histogram", "Seconds to store the images of a request", _SECONDS),
    Family(_P + "failures_total", "counter", "Requests that failed in postprocessing, by reason"),
)


class OutputMetrics:
    """Counts what the postprocessor does, until `close`.

    Args:
        new_series: makes a series of the metrics backend.
    """

    def __init__(self, new_series: Callable[[Family, dict[str, str]], Series]) -> None:
        self._metrics = Metrics(FAMILIES, new_series)
        self._metrics.start()

    def encoded(self, output_format: str, seconds: float) -> None:
        """The images of a request were encoded."""
        self._metrics.observe(_P + "encode_seconds", seconds, format=output_format)

    def stored(self, seconds: float) -> None:
        """The images of a request were stored."""
        self._metrics.observe(_P + "store_seconds", seconds)

    def done(self, output_format: str, images: Sequence[bytes]) -> None:
        """These encoded images, or their addresses, were handed over."""
        self._metrics.add(_P + "images_total", len(images), format=output_format)
        self._metrics.add(_P + "image_bytes_total", sum(map(len, images)), format=output_format)

    def failed(self, error: BaseException) -> None:
        """A request failed."""
        self._metrics.add(_P + "failures_total", reason=as_client_error(error).code)

    def close(self) -> None:
        """Hand over the rest and end."""
        self._metrics.close()
