"""Which metrics the engine has, and how a backend is told of them."""

from __future__ import annotations

from collections.abc import Callable

from imagegen.metrics import Family, Series

_ROWS = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100)
_P = "imagegen_diffusion_"

RESTARTS = Family(_P + "restarts_total", "counter", "Starts of the engine's process after it had ended, by reason")

FAMILIES = (
    Family(_P + "active_requests", "gauge", "Requests that are being generated"),
    Family(_P + "waiting_requests", "gauge", "Requests taken from Triton's queue that wait for a slot (0 or 1)"),
    Family(_P + "forwards_total", "counter", "Denoiser forwards run"),
    Family(
        _P + "denoiser_calls_total",
        "counter",
        "Denoiser calls of images; over forwards_total: how many share a forward",
    ),
    Family(
        _P + "forecast_steps_total", "counter", "Steps of images that took a forecast instead of running the denoiser"
    ),
    Family(_P + "forward_rows", "histogram", "Rows of a denoiser forward", _ROWS),
    Family(_P + "row_limit", "gauge", "Most rows of a forward at the moment; lowered by out-of-memory"),
    Family(_P + "stage_seconds", "histogram", "Seconds of a request by stage", _SECONDS),
    Family(_P + "images_total", "counter", "Images by task and outcome"),
    Family(
        _P + "non_finite_total",
        "counter",
        "Images of values that were no finite numbers, by stage (encode, denoise, decode) and outcome",
    ),
    Family(_P + "cancellations_total", "counter", "Requests that ended because their client cancelled or disconnected"),
    Family(_P + "isolation_retries_total", "counter", "Forwards that failed and were run again in halves"),
    Family(_P + "cache_hits_total", "counter", "Cache look-ups that found something"),
    Family(_P + "cache_misses_total", "counter", "Cache look-ups that found nothing"),
    Family(_P + "cache_evictions_total", "counter", "Cache entries dropped for want of room"),
    Family(_P + "cache_bytes", "gauge", "Bytes held by a cache"),
    Family(_P + "lora_requests_total", "counter", "Requests that ended with images, for each LoRA adapter they named"),
    Family(_P + "lora_read_seconds", "histogram", "Seconds to read a LoRA adapter that was not in memory", _SECONDS),
    Family(_P + "sleep_level", "gauge", "How deeply the engine sleeps: 0 awake, 1 weights on the host, 2 no process"),
    Family(_P + "device_memory_bytes", "gauge", "GPU memory that torch holds for tensors"),
    Family(_P + "ranks", "gauge", "Devices that share each forward"),
    RESTARTS,
    Family(
        _P + "image_peak_bytes",
        "gauge",
        "GPU memory that one image took at once beside the model, in the warm-up, by task, size and stage",
    ),
)


NewSeries = Callable[[Family, dict[str, str]], Series]
"""Makes a series of the metrics backend, for a family and labels."""


class _Discarded:
    def increment(self, value: float) -> None: ...
    def set(self, value: float) -> None: ...
    def observe(self, value: float) -> None: ...


def discard(family: Family, labels: dict[str, str]) -> Series:
    """A series that nobody reads."""
    return _Discarded()
