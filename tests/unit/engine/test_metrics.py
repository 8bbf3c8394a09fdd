"""What happens in the engine arrives in the right series."""

from __future__ import annotations

from collections import defaultdict

import torch

from imagegen.api.errors import Cancelled, InvalidArgument, NonFinite
from imagegen.engine.collate import describe
from imagegen.engine.content_cache import ContentCache
from imagegen.engine.metric_families import FAMILIES
from imagegen.engine.metrics import EngineMetrics
from imagegen.metrics import Family
from tests.unit.engine.collate_toys import DENOISER, numbers

PREFIX = "imagegen_diffusion_"


class Series:
    """Keeps what arrives."""

    def __init__(self, arrived: list[float]) -> None:
        self.increment = self.set = self.observe = arrived.append


def test_everything_is_counted_once_with_its_labels() -> None:
    arrived: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)

    def new_series(family: Family, labels: dict[str, str]) -> Series:
        assert family in FAMILIES
        return Series(arrived[(family.name.removeprefix(PREFIX), *labels.values())])

    cache = ContentCache(100)
    metrics = EngineMetrics(new_series, lambda: {"prompt": cache.statistics}, torch.device("cpu"))
    metrics.waiting(3)
    metrics.active(2)
    metrics.sleeping(1)
    metrics.forward([describe(DENOISER, (numbers(rows, 4), 1), {}, 64) for rows in (1, 2)])
    metrics.forecasts(5)
    metrics.executor(row_limit=8, isolation_retries=1)
    metrics.image_peak("text-to-image", (64, 32), {"decode": 5000})
    metrics.completed("text-to-image", 2, {"denoise": 1.5})
    metrics.failed("inpainting", 1, InvalidArgument("n", "0"))
    metrics.failed("inpainting", 3, Cancelled("the client cancelled the request"))
    metrics.failed("inpainting", 1, ValueError("internal"))
    metrics.failed("inpainting", 1, NonFinite("denoise", "a cause"))
    metrics.non_finite("decode")
    metrics.loras(["outline"])
    metrics.loras(f"of a user {number}" for number in range(100))
    metrics.lora_read(0.25)
    cache.put("a", "A", 60)
    cache.put("b", "B", 60)
    cache.get("b")
    cache.get("a")
    metrics.close()
    expected: dict[tuple[str, ...], float] = {
        ("waiting_requests",): 3,
        ("active_requests",): 2,
        ("sleep_level",): 1,
        ("ranks",): 1,
        ("forwards_total",): 1,
        ("denoiser_calls_total",): 2,
        ("forward_rows",): 3,
        ("forecast_steps_total",): 5,
        ("row_limit",): 8,
        ("isolation_retries_total",): 1,
        ("image_peak_bytes", "64x32", "decode", "text-to-image"): 5000,
        ("stage_seconds", "denoise"): 1.5,
        ("images_total", "ok", "text-to-image"): 2,
        ("lora_requests_total", "outline"): 1,
        **{("lora_requests_total", f"of a user {number}"): 1 for number in range(63)},
        ("lora_requests_total", "other"): 37,
        ("lora_read_seconds",): 0.25,
        ("images_total", "invalid_argument", "inpainting"): 1,
        ("images_total", "cancelled", "inpainting"): 3,
        ("images_total", "internal_error", "inpainting"): 1,
        ("images_total", "non_finite", "inpainting"): 1,
        ("non_finite_total", "delivered", "encode"): 0,
        ("non_finite_total", "delivered", "denoise"): 0,
        ("non_finite_total", "delivered", "decode"): 1,
        ("non_finite_total", "error", "encode"): 0,
        ("non_finite_total", "error", "denoise"): 1,
        ("non_finite_total", "error", "decode"): 0,
        ("cancellations_total",): 1,
        ("cache_hits_total", "prompt"): 1,
        ("cache_misses_total", "prompt"): 1,
        ("cache_evictions_total", "prompt"): 1,
        ("cache_bytes", "prompt"): 60,
    }
    assert {key: values[-1] for key, values in arrived.items()} == expected
