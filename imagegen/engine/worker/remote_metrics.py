"""Metrics of an engine in a process of its own: what it counts there, and what only the server's process can."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from imagegen.api.errors import as_client_error
from imagegen.engine.metric_families import FAMILIES, RESTARTS, NewSeries
from imagegen.engine.worker.messages import Counted
from imagegen.metrics import Metrics

if TYPE_CHECKING:
    from imagegen.engine.worker.remote_requests import RemoteRequest

_P = "imagegen_diffusion_"
_WAITING, _SLEEP_LEVEL = _P + "waiting_requests", _P + "sleep_level"
_HELD = (_P + "device_memory_bytes", _P + "cache_bytes")  # of the engine's process, and gone with it
_KINDS = {family.name: family.kind for family in FAMILIES}
REASONS = ("killed", "crashed", "device", "rank", "failed", "hang", "closed")


class RemoteMetrics:
    """Counts for the process of a server.

    Args:
        new_series: makes a series of the metrics backend.
    """

    def __init__(self, new_series: NewSeries) -> None:
        self._metrics = Metrics(FAMILIES, new_series)
        self._metrics.set(_P + "active_requests", 0)
        self.waiting(0)
        self.sleeping(0)
        self._held: dict[tuple[str, ...], Counted] = {}  # by family and labels
        for reason in REASONS:  # from the start: an alert on what was never counted would be mute
            self._metrics.add(RESTARTS.name, 0, reason=reason)
        self._metrics.start()

    def waiting(self, count: int) -> None:
        """Set how many requests wait for a slot."""
        self._metrics.set(_WAITING, count)

    def active(self, count: int) -> None:
        """Nothing: the engine's process says it, in order with what else it counts."""

    def sleeping(self, level: int) -> None:
        """Set how deeply the engine sleeps; 0 while it is awake."""
        self._metrics.set(_SLEEP_LEVEL, level)

    def counted(self, message: Counted) -> None:
        """Pass on what the engine's process has counted; nobody waits there, and it may sleep without a process."""
        if message.family in (_WAITING, _SLEEP_LEVEL):
            return
        if message.family in _HELD:
            self._held[(message.family, *message.labels.values())] = message
        metrics = self._metrics
        count: dict[str, Callable[..., None]]
        count = {"counter": metrics.add, "gauge": metrics.set, "histogram": metrics.observe}
        count[_KINDS[message.family]](message.family, message.value, **message.labels)

    def failed(self, request: RemoteRequest, error: BaseException) -> None:
        """Count a request that the engine's process never had, or had when it ended."""
        task = request.images.task
        code = as_client_error(error).code
        self._metrics.add(_P + "images_total", request.asked.n, task=task, outcome=code)
        if code == "cancelled":
            self._metrics.add(_P + "cancellations_total")

    def lost(self) -> None:
        """The engine's process has ended, and with it all that it had."""
        self._metrics.set(_P + "active_requests", 0)
        for message in self._held.values():
            self._metrics.set(message.family, 0, **message.labels)

    def restarted(self, reason: str) -> None:
        """Count a start after an end."""
        self._metrics.add(RESTARTS.name, reason=reason)

    def close(self) -> None:
        """Hand over the rest and end."""
        self._metrics.close()
