"""The engine's metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch

from imagegen.api.errors import Cancelled, NonFinite, as_client_error
from imagegen.engine.collate import DenoiserCall
from imagegen.engine.finite_check import DECODE, DENOISE, ENCODE
from imagegen.engine.metric_families import FAMILIES, NewSeries
from imagegen.metrics import CacheStatistics, Metrics

_P = "imagegen_diffusion_"
_MOST_LORA_LABELS = 64  # a name is whatever an administrator, or a prefix, allows
_OTHER_LORAS = "other"


class EngineMetrics:
    """Counts what the engine does.

    Args:
        new_series: makes a series of the metrics backend.
        caches: says the statistics of all caches, by name.
        device: where the model computes.
        ranks: how many devices share each forward.
    """

    def __init__(
        self,
        new_series: NewSeries,
        caches: Callable[[], Mapping[str, CacheStatistics]],
        device: torch.device,
        ranks: int = 1,
    ) -> None:
        self._caches = caches
        self._device = device
        self._loras: set[str] = set()
        self._metrics = Metrics(FAMILIES, new_series, self._collect)
        self._metrics.set(_P + "active_requests", 0)
        self._metrics.set(_P + "waiting_requests", 0)
        self.sleeping(0)
        self._metrics.set(_P + "ranks", ranks)
        for stage in (ENCODE, DENOISE, DECODE):  # from the start: an alert on what was never counted would be mute
            for outcome in ("error", "delivered"):
                self._metrics.add(_P + "non_finite_total", 0, stage=stage, outcome=outcome)
        self._metrics.start()

    def waiting(self, count: int) -> None:
        """Set how many requests wait for a slot."""
        self._metrics.set(_P + "waiting_requests", count)

    def active(self, count: int) -> None:
        """Set how many requests are being generated."""
        self._metrics.set(_P + "active_requests", count)

    def sleeping(self, level: int) -> None:
        """Set how deeply the engine sleeps; 0 while it is awake."""
        self._metrics.set(_P + "sleep_level", level)

    def forward(self, calls: Sequence[DenoiserCall]) -> None:
        """Count a denoiser forward that has run these calls."""
        self._metrics.add(_P + "forwards_total")
        self._metrics.add(_P + "denoiser_calls_total", len(calls))
        self._metrics.observe(_P + "forward_rows", sum(call.rows for call in calls))

    def forecasts(self, steps: int) -> None:
        """Count the steps of a request's images that took a forecast."""
        self._metrics.add(_P + "forecast_steps_total", steps)

    def executor(self, row_limit: int, isolation_retries: int) -> None:
        """Set the state of the executor."""
        self._metrics.set(_P + "row_limit", row_limit)
        self._metrics.add_up_to(_P + "isolation_retries_total", isolation_retries)

    def image_peak(self, task: str, size: tuple[int, int], bytes_by_stage: Mapping[str, int]) -> None:
        """Set what one image of a size, (width, height) in pixels, takes at once, by stage."""
        width, height = size
        for stage, peak_bytes in bytes_by_stage.items():
            self._metrics.set(_P + "image_peak_bytes", peak_bytes, task=task, size=f"{width}x{height}", stage=stage)

    def completed(self, task: str, images: int, seconds: Mapping[str, float]) -> None:
        """Count a request that ended with images, and its seconds by stage."""
        self._metrics.add(_P + "images_total", images, task=task, outcome="ok")
        for stage, value in seconds.items():
            self._metrics.observe(_P + "stage_seconds", value, stage=stage)

    def loras(self, names: Iterable[str]) -> None:
        """Count a request that ended with images, for each of its adapters; after 64 names the others are one."""
        for name in names:
            if len(self._loras) < _MOST_LORA_LABELS:
                self._loras.add(name)
            self._metrics.add(_P + "lora_requests_total", lora=name if name in self._loras else _OTHER_LORAS)

    def lora_read(self, seconds: float) -> None:
        """Observe how long it took to read an adapter from its file."""
        self._metrics.observe(_P + "lora_read_seconds", seconds)

    def non_finite(self, stage: str) -> None:
        """Count an image that was delivered though values of that stage were not finite."""
        self._metrics.add(_P + "non_finite_total", stage=stage, outcome="delivered")

    def failed(self, task: str, images: int, error: BaseException) -> None:
        """Count a request that ended with an error."""
        self._metrics.add(_P + "images_total", images, task=task, outcome=as_client_error(error).code)
        if isinstance(error, NonFinite):
            self._metrics.add(_P + "non_finite_total", stage=error.stage, outcome="error")
        if isinstance(error, Cancelled):
            self._metrics.add(_P + "cancellations_total")

    def close(self) -> None:
        """Hand over the rest and end."""
        self._metrics.close()

    def _collect(self) -> None:
        for name, statistics in self._caches().items():
            self._metrics.set_cache(_P, statistics, cache=name)
        if self._device.type == "cuda":
            self._metrics.set(_P + "device_memory_bytes", torch.cuda.memory_allocated(self._device))
