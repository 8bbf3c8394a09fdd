"""The warm-up of one task and size: what the first forwards of a shape do only once is done before requests come."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import replace

from imagegen.engine.adapters.adapter_table import Updates
from imagegen.engine.cached_encoders import Caches
from imagegen.engine.memory_costs import tells_memory
from imagegen.engine.model_runner import ModelRunner
from imagegen.engine.settings import EngineSettings
from imagegen.pipelines.checkpoint import Pipelines
from imagegen.pipelines.plan import Plan
from imagegen.pipelines.warmup import dropping_what_fails

_log = logging.getLogger(__name__)


def warm_up(
    plan: Plan,
    pipelines: Pipelines,
    settings: EngineSettings,
    runner: ModelRunner,
    caches: Caches,
    updates: Mapping[str, Updates] | None = None,
) -> None:
    """Generate one image, and as many as fill each row bucket; learn what memory an image takes, where that can be.

    Args:
        plan: of one image.
        pipelines: a derived task that fails is taken out of its tasks.
        settings: with the buckets.
        runner: generates.
        caches: are empty when memory is learnt.
        updates: of adapters, by component, with which all is generated once more; None for not at all.

    Raises:
        ValueError: the checkpoint's own task cannot be done. Whatever else goes wrong with an image.
    """
    started_s = time.monotonic()
    _log.info("warming up: %s at %dx%d", plan.task, *plan.size)
    largest = (settings.max_batch_rows,) if pipelines.device.type == "cuda" else ()
    takes = ""
    with dropping_what_fails(plan, pipelines):
        (image,) = runner.run(plan)
        if updates:
            runner.run(plan, updates)
        rows = max(1, image.batch_rows // max(1, image.forwards))
        for bucket in settings.row_buckets or largest:
            filling = replace(plan, seeds=tuple(range(math.ceil(bucket / rows))))
            runner.run(filling)
            if updates:
                runner.run(filling, updates)
    if tells_memory(pipelines.device) and plan.task in pipelines.tasks:
        for cache in caches.by_name().values():
            cache.clear()  # the prompt of most requests has to be encoded
        cost = runner.measure(plan)  # last, for the first forwards take what stays
        takes = f"; {cost.summary()}" if cost is not None else ""
    took_s = time.monotonic() - started_s
    _log.info("warmed up: %s at %dx%d in %.1f s%s", plan.task, *plan.size, took_s, takes)
