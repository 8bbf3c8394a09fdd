"""The warm-up fills each row bucket, with adapters once more, and says how long it took."""

from __future__ import annotations

import logging

import pytest
import torch

from imagegen.engine import EngineSettings
from imagegen.engine.adapters.adapter_table import ComponentAdapter
from imagegen.engine.cached_encoders import Caches
from imagegen.engine.content_cache import ContentCache
from imagegen.engine.metric_families import discard
from imagegen.engine.metrics import EngineMetrics
from imagegen.engine.model_runner import ModelRunner
from imagegen.engine.warm_up import warm_up
from imagegen.pipelines.warmup import warmup_plans
from tests.unit.tiny_engine import TIMEOUT_S, no_adapters, pipelines, tiny_engine

SETTINGS = EngineSettings(model="tiny", warmup_sizes=("32x64",), row_buckets=(2, 8), max_batch_rows=8)


def test_each_task_is_warmed_up_for_each_row_bucket() -> None:
    with tiny_engine(SETTINGS) as engine:
        rows: list[int] = []
        unet = pipelines().tasks["text-to-image"].pipeline.unet
        hook = unet.register_forward_pre_hook(
            lambda _, args, named: rows.append(len(named["sample"])), with_kwargs=True
        )
        engine.warm_up()
        hook.remove()
    assert set(rows) == {2, 8}


def test_each_bucket_is_filled_with_adapters_too(caplog: pytest.LogCaptureFixture) -> None:
    metrics = EngineMetrics(discard, dict, torch.device("cpu"))
    runner = ModelRunner(SETTINGS, pipelines(), metrics, no_adapters())
    filled: list[tuple[int, bool]] = []
    run = runner.run

    def noted(plan: object, *updates: object) -> object:
        filled.append((len(plan.seeds), bool(updates)))  # type: ignore[attr-defined]
        return run(plan, *updates)  # type: ignore[arg-type]

    runner.run = noted  # type: ignore[method-assign, assignment]
    plan = next(warmup_plans(pipelines(), SETTINGS, ["32x32"]))
    caches = Caches(ContentCache(0), ContentCache(0))
    try:
        with caplog.at_level(logging.INFO):
            warm_up(plan, pipelines(), SETTINGS, runner, caches, {"unet": ((ComponentAdapter("", {}), 1.0),)})
    finally:
        runner.close(TIMEOUT_S)
        metrics.close()
    assert filled == [(1, False), (1, True), (1, False), (1, True), (4, False), (4, True)]
    assert "warmed up: text-to-image at 32x32 in" in caplog.text
