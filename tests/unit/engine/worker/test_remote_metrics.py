"""What is counted in the engine's process arrives, and what only the server's process sees is counted here."""

from __future__ import annotations

from typing import Any

import numpy as np

from imagegen.api.errors import Cancelled, Unavailable
from imagegen.api.input_images import InputImages
from imagegen.api.request import ImageRequest
from imagegen.engine.worker.messages import Counted
from imagegen.engine.worker.remote_metrics import REASONS, RemoteMetrics
from imagegen.metrics import Family

P = "imagegen_diffusion_"


class Backend:
    """Series by name and labels, and the values that they were given."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], list[float]] = {}

    def __call__(self, family: Family, labels: dict[str, str]) -> Any:
        values = self.values.setdefault((family.name.removeprefix(P), *labels.values()), [])

        class Series:
            increment = set = observe = staticmethod(values.append)

        return Series()


class Request:
    asked = ImageRequest(prompt="x", n=3)
    images = InputImages(np.zeros((1, 8, 8, 3), np.uint8))


def test_numbers_arrive_each_by_its_kind() -> None:
    backend = Backend()
    metrics = RemoteMetrics(backend)
    for value in (1.0, 2.0):
        metrics.counted(Counted(P + "forwards_total", {}, value))
        metrics.counted(Counted(P + "row_limit", {}, value))
        metrics.counted(Counted(P + "forward_rows", {}, value))
        metrics.counted(Counted(P + "active_requests", {}, value))
        metrics.counted(Counted(P + "waiting_requests", {}, 9.0))
    metrics.active(7)
    metrics.waiting(1)
    metrics.close()
    assert backend.values["forwards_total",] == [3.0]
    assert backend.values["row_limit",] == [2.0]
    assert backend.values["forward_rows",] == [1.0, 2.0]
    assert backend.values["active_requests",][-1] == 2
    assert backend.values["waiting_requests",][-1] == 1


def test_requests_that_the_process_cannot_count_are_counted_here() -> None:
    backend = Backend()
    metrics = RemoteMetrics(backend)
    metrics.failed(Request(), Unavailable("gone"))  # type: ignore[arg-type]
    metrics.failed(Request(), Cancelled("gone"))  # type: ignore[arg-type]
    metrics.counted(Counted(P + "active_requests", {}, 5.0))
    metrics.lost()
    metrics.restarted("killed")
    metrics.close()
    assert backend.values["images_total", "unavailable", "image-to-image"] == [3]
    assert backend.values["cancellations_total",] == [1]
    assert backend.values["active_requests",][-1] == 0
    assert {reason: sum(backend.values["restarts_total", reason]) for reason in REASONS} == dict.fromkeys(
        REASONS, 0
    ) | {"killed": 1}


def test_what_an_ended_process_held_is_gone_and_the_level_is_this_processs_own() -> None:
    backend = Backend()
    metrics = RemoteMetrics(backend)
    metrics.counted(Counted(P + "device_memory_bytes", {}, 7.0))
    metrics.counted(Counted(P + "cache_bytes", {"cache": "prompt"}, 7.0))
    metrics.counted(Counted(P + "sleep_level", {}, 1.0))
    metrics.lost()
    metrics.sleeping(2)
    metrics.close()
    assert backend.values["device_memory_bytes",] == backend.values["cache_bytes", "prompt"] == [0]
    assert backend.values["sleep_level",] == [2]
