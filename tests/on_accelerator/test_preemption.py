"""Large and small images at once, each layer of the large ones giving way: the images of the CPU, no other waits."""

from __future__ import annotations

import math
from typing import Any

import pytest

from imagegen.engine import preemption
from imagegen.engine.executor import Executor
from tests.accelerator import DEVICE, Kind
from tests.on_accelerator.families import engine_of, on_cpu, on_device, together
from tests.unit.tiny_engine import image, levels

MEMORY = DEVICE.memory
LARGE: dict[str, Any] = {"size": "96x96", "num_inference_steps": 3, "seed": 1}
SMALL: dict[str, Any] = {"size": "32x32", "num_inference_steps": 5, "seed": 2}


@pytest.fixture(autouse=True)
def _always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preemption, "LONG_S", 0.0)
    monkeypatch.setattr(preemption, "SLICE_S", 0.0)


@pytest.mark.parametrize("family", ["sd", "sdxl", "flux", "qwen-image"])
def test_the_images_are_those_of_the_cpu_and_nobody_waits_more(family: str) -> None:
    requests = [LARGE, SMALL, {**LARGE, "num_inference_steps": 2}, {**SMALL, "seed": 5}]
    if family.startswith("sd"):
        requests.append({"images": image(3, height=64, width=64), "num_inference_steps": 3, "seed": 4})
    with engine_of(on_cpu(family)) as other:
        expected = [together(other, [request])[0][0] for request in requests]
    with engine_of(on_device(family)) as engine:
        DEVICE.counters.reset()
        results, _ = together(engine, requests)
    for result, one in zip(results, expected, strict=True):
        assert result.frames.std() > 1
        assert levels(result.frames, one.frames) <= 1
    lines = [*DEVICE.counters.by_line(Kind.SYNCHRONISATION), *DEVICE.counters.by_line(Kind.TO_HOST)]
    assert not [line for line in lines if "preempt" in line]


def test_where_there_is_no_room_for_both_nobody_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is as much memory as they take without preemption."""
    made: list[bool] = []
    make_room = Executor.make_room

    def watched(self: Executor) -> bool:
        made.append(make_room(self))
        return made[-1]

    watched.__name__ = "make_room"
    monkeypatch.setattr(Executor, "make_room", watched)
    requests = [{**LARGE, "size": size} for size in ("96x96", "80x112", "112x80", "64x128")]
    with engine_of(on_device("sd")) as engine:
        alone = [together(engine, [request])[0][0] for request in requests]
        with monkeypatch.context() as never:
            never.setattr(preemption, "LONG_S", math.inf)
            MEMORY.reset_peak()
            for _ in range(3):
                together(engine, requests)
        MEMORY.limit_bytes = MEMORY.peak_bytes
        for _ in range(20):
            results, _ = together(engine, requests)
            for result, one in zip(results, alone, strict=True):
                assert levels(result.frames, one.frames) <= 1
            if any(made):
                break
    assert any(made), "there was always room"
