"""A step that is forecast costs a few launches: nobody waits, and nothing more is copied than by a computed one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.accelerator import DEVICE, Kind
from tests.on_accelerator.families import FAMILIES, SIZE, denoiser, engine_of, on_cpu, on_device, together
from tests.unit.tiny_engine import levels

STEPS = 12
COMPUTED = 8  # of them with fast
MOST_LAUNCHES = 12  # of a forecast step outside forwards: the scheduler's own, and the forecast's three
WITHOUT = {"flux-cached"}  # its denoiser has a cache between steps


def test_a_forecast_step_launches_less_and_copies_no_more() -> None:
    pipelines = on_device("sd")
    asked: dict[str, Any] = {"prompt": "a red cat", "size": SIZE, "seed": 1, "num_inference_steps": STEPS}
    with engine_of(pipelines) as engine:
        engine.generate(**asked)

        def cost(**options: Any) -> dict[Kind, int]:
            DEVICE.counters.reset()
            with DEVICE.counters.forwards_of(denoiser(pipelines)):
                engine.generate(**asked, **options)
            return {kind: DEVICE.counters.total(kind, None) for kind in Kind}

        every, some = cost(), cost(step_cache="fast")
    assert some[Kind.SYNCHRONISATION] == every[Kind.SYNCHRONISATION]
    assert some[Kind.TO_HOST] == every[Kind.TO_HOST]
    assert some[Kind.TO_DEVICE] == every[Kind.TO_DEVICE] - (STEPS - COMPUTED)  # a copy of timesteps a forward
    assert some[Kind.LAUNCH] < every[Kind.LAUNCH] * COMPUTED / STEPS * 1.1


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - WITHOUT))
def test_no_forecast_synchronises_and_the_device_gives_the_images_of_the_cpu(family: str) -> None:
    requests = [
        {"size": SIZE, "seed": number, "num_inference_steps": STEPS, "step_cache": name}
        for number, name in enumerate(("fast", "off", "fine"))
    ]
    pipelines = on_device(family)
    with engine_of(pipelines) as on, engine_of(on_cpu(family)) as off:
        on.generate("a red cat", size=SIZE, num_inference_steps=1)

        def waits(step_cache: str) -> int:
            DEVICE.counters.reset()
            with DEVICE.counters.forwards_of(denoiser(pipelines)):
                on.generate("a red cat", size=SIZE, seed=1, num_inference_steps=STEPS, step_cache=step_cache)
            return DEVICE.counters.total(Kind.SYNCHRONISATION)

        assert waits("fast") == waits("off")
        results, _ = together(on, requests)
        expected, _ = together(off, requests)
    assert [result.statistics.computed_steps for result in results] == [COMPUTED, STEPS, 9]
    for result, other in zip(results, expected, strict=True):
        assert levels(result.frames, other.frames) <= 1
