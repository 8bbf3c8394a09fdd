"""Prometheus metrics of the frontend itself; Triton has its own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100)
_LAG_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)


class FrontendMetrics:
    """All metrics of one frontend, in a registry of their own."""

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        registry = self._registry
        self.requests = Counter(
            "imagegen_frontend_requests", "Requests that are over.", ("route", "status"), registry=registry
        )
        self.seconds = Histogram(
            "imagegen_frontend_request_seconds",
            "From a request's head to the end of its response.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.open = Gauge("imagegen_frontend_open_requests", "Requests under way.", registry=registry)
        self.images = Counter("imagegen_frontend_images", "Images sent.", ("route",), registry=registry)
        self.partial_images = Counter("imagegen_frontend_partial_images", "Previews sent.", registry=registry)
        self.ready = Gauge(
            "imagegen_frontend_ready",
            "1 when images can be generated, by the engine's own life, else 0.",
            registry=registry,
        )
        self.loop_lag = Histogram(
            "imagegen_frontend_loop_lag_seconds",
            "How late the event loop wakes a timer: work that blocks it shows here.",
            buckets=_LAG_SECONDS,
            registry=registry,
        )

    def text(self) -> bytes:
        """The exposition, in Prometheus' text format."""
        return bytes(generate_latest(self._registry))
