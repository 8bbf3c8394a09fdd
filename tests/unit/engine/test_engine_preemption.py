"""Images of very different sizes at the same time, each layer of the large ones giving way: bit for bit as alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagegen.engine import Engine, preemption
from imagegen.engine.executor import Executor
from imagegen.engine.scheduler import Rest
from tests.unit.engine.adapters.made import write_adapter
from tests.unit.tiny_engine import ENDLESS, SETTINGS, image, pipelines, tiny_engine, wait_until

LARGE: dict[str, Any] = {"size": "64x64", "num_inference_steps": 4, "seed": 1}
SMALL: dict[str, Any] = {"size": "32x32", "num_inference_steps": 3, "seed": 2}
EDIT: dict[str, Any] = {"images": image(3, 1, 64, 48), "num_inference_steps": 4, "strength": 0.8, "seed": 4}


@pytest.fixture
def preempted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What gave way, "forward" or "vae", while all work is long and gives way before each layer."""
    monkeypatch.setattr(preemption, "LONG_S", 0.0)
    monkeypatch.setattr(preemption, "SLICE_S", 0.0)
    seen: list[str] = []
    give_way = Executor.give_way

    def watched(self: Executor, rest: Rest) -> bool:
        gave_way = give_way(self, rest)
        if gave_way:
            seen.append("forward" if rest.pixels else "vae")
        return gave_way

    watched.__name__ = "give_way"
    monkeypatch.setattr(Executor, "give_way", watched)
    return seen


def frames(engine: Engine, options: dict[str, Any]) -> Any:
    return engine.generate("a red cat", **options).frames


def test_large_and_small_images_are_those_of_an_engine_that_has_nothing_else(
    tmp_path: Path, preempted: list[str]
) -> None:
    write_adapter(pipelines().tasks["text-to-image"].pipeline, tmp_path / "ink.safetensors", 1)
    settings = SETTINGS.model_copy(
        update={"lora_modules": (f"ink={tmp_path / 'ink.safetensors'}",), "row_buckets": (16,)}
    )
    kinds = [LARGE, SMALL, EDIT, {**LARGE, "lora": "ink", "size": "48x64"}, {**SMALL, "lora": "ink"}]
    with tiny_engine(settings) as engine:
        alone = [frames(engine, options) for options in kinds]
        assert not preempted, "nobody waited"
        with ThreadPoolExecutor(2 * len(kinds)) as threads:
            together = list(threads.map(lambda options: frames(engine, options), kinds * 2))
    for number, made in enumerate(together):
        assert np.array_equal(made, alone[number % len(kinds)]), kinds[number % len(kinds)]
    assert {"forward", "vae"} <= set(preempted)


def test_a_short_request_ends_while_a_long_forward_waits(preempted: list[str]) -> None:
    """However long that takes: the clock plays no part in it."""
    with tiny_engine() as engine:
        frames(engine, SMALL)
        long = engine.stream("a red cat", **{**LARGE, "num_inference_steps": ENDLESS})
        assert next(long)
        for _ in range(3):
            frames(engine, SMALL)
        assert "forward" in preempted
        long.close()  # type: ignore[attr-defined]
        wait_until(lambda: engine.active_requests == 0)
        frames(engine, LARGE)


def test_what_is_compiled_is_not_preempted(preempted: list[str]) -> None:
    """Hooks on its layers would have it compiled anew."""
    with tiny_engine(SETTINGS.model_copy(update={"compile": "aot"})) as engine:
        long = engine.stream("a red cat", **{**LARGE, "num_inference_steps": ENDLESS})
        assert next(long)
        frames(engine, SMALL)
        long.close()  # type: ignore[attr-defined]
    assert "forward" not in preempted
