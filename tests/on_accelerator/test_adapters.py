"""Adapters by request on the device: nothing mixes devices, nobody waits for one, and its bytes come back."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from imagegen.engine import EngineSettings
from tests.accelerator import DEVICE, Counters, Kind
from tests.on_accelerator.families import FAMILIES, SIZE, denoiser, engine_of, on_cpu, on_device, together
from tests.unit.engine.adapters.made import DENOISER_LAYERS, layers_of, write_adapter
from tests.unit.tiny_engine import SETTINGS, levels

ADAPTERS: list[dict[str, Any]] = [
    {},
    {"lora": "one"},
    {"lora": ["one", "text"], "lora_scale": [0.5, -0.5]},
    {"lora": "text"},
]
TAKERS = sorted(FAMILIES.keys() - {"flux-cached", "pixart-sigma"})


def settings(folder: Path, **changes: Any) -> EngineSettings:
    return SETTINGS.model_copy(update={"lora_folder": str(folder), **changes})


def requests_of(count: int = len(ADAPTERS)) -> list[dict[str, Any]]:
    return [
        {"size": SIZE, "seed": number, "num_inference_steps": 3 + number % 2} | ADAPTERS[number % len(ADAPTERS)]
        for number in range(count)
    ]


def collected() -> None:
    gc.collect()


def written(family: str, folder: Path) -> None:
    pipeline = FAMILIES[family]()
    write_adapter(pipeline, folder / "one.safetensors", 1)
    write_adapter(pipeline, folder / "text.safetensors", 2, rank=2, text=True)


@pytest.mark.parametrize("family", TAKERS)
def test_the_device_gives_the_images_of_the_cpu(family: str, tmp_path: Path) -> None:
    written(family, tmp_path)
    own = settings(tmp_path)
    with engine_of(on_device(family), own) as on, engine_of(on_cpu(family), own) as off:
        results, _ = together(on, requests_of())
        expected, _ = together(off, requests_of())
    for result, other in zip(results, expected, strict=True):
        assert levels(result.frames, other.frames) <= 1
    assert len({result.frames.tobytes() for result in results}) == len(results)


def test_nobody_waits_for_an_adapter(tmp_path: Path) -> None:
    """Neither while it comes to the device nor while it is used: no synchronisation more, and one copy in all."""
    written("sd", tmp_path)
    pipelines = on_device("sd")
    asked: dict[str, Any] = {"prompt": "a red cat", "size": SIZE, "seed": 1, "num_inference_steps": 3}
    with engine_of(pipelines, settings(tmp_path)) as engine:
        engine.generate(**asked)

        def cost(**options: Any) -> dict[Kind, int]:
            DEVICE.counters.reset()
            with DEVICE.counters.forwards_of(denoiser(pipelines)):
                engine.generate(**asked, **options)
            outside = {kind: DEVICE.counters.total(kind) for kind in (Kind.TO_DEVICE, Kind.TO_HOST, Kind.LAUNCH)}
            return outside | {Kind.SYNCHRONISATION: DEVICE.counters.total(Kind.SYNCHRONISATION, None)}

        without = cost()
        assert cost(lora="one") == without | {Kind.TO_DEVICE: without[Kind.TO_DEVICE] + 1}
        assert cost(lora="one", lora_scale=-0.5) == without


def test_an_adapter_costs_two_launches_a_linear_layer_and_three_a_convolution(tmp_path: Path) -> None:
    written("sd", tmp_path)
    pipelines = on_device("sd")
    layers = layers_of(denoiser(pipelines), DENOISER_LAYERS).values()
    expected = sum(2 if isinstance(layer, nn.Linear) else 3 for layer in layers)
    with engine_of(pipelines, settings(tmp_path)) as engine:

        def launches(**options: Any) -> int:
            engine.generate("a red cat", size=SIZE, seed=1, num_inference_steps=1, **options)
            DEVICE.counters.reset()
            with DEVICE.counters.forwards_of(denoiser(pipelines)):
                engine.generate("a red cat", size=SIZE, seed=1, num_inference_steps=1, **options)
            return DEVICE.counters.total(Kind.LAUNCH, Counters.FORWARD)

        without = launches()
        assert launches(lora="one", lora_scale=0.0) == without
        assert launches(lora="one") - without == expected
        assert launches(lora=["one", "text"]) - without == 2 * expected


def test_bytes_are_bounded_and_come_back(tmp_path: Path) -> None:
    pipeline = FAMILIES["sd"]()
    for number in range(4):
        write_adapter(pipeline, tmp_path / f"a{number}.safetensors", number)
    size_bytes = (tmp_path / "a0.safetensors").stat().st_size
    own = settings(tmp_path, lora_folder="", lora_device_bytes=int(2.5 * size_bytes), prompt_cache_bytes=0)
    with engine_of(on_device("sd"), own) as engine:
        for number in range(4):
            engine.load_lora(f"a{number}", str(tmp_path / f"a{number}.safetensors"))
        engine.generate("a red cat", size=SIZE, seed=1, num_inference_steps=1)

        def held_bytes() -> int:
            engine._runner.run_on_device_thread(collected)
            return DEVICE.memory.live_bytes

        before = held_bytes()
        requests = [
            {"size": SIZE, "seed": number, "num_inference_steps": 2, "lora": f"a{number % 4}"} for number in range(8)
        ]
        together(engine, requests)
        statistics = engine._adapters.statistics()["lora_device"]
        assert 0 < held_bytes() - before <= own.lora_device_bytes
        assert statistics.bytes <= own.lora_device_bytes
        assert statistics.evictions >= 2
        for number in range(4):
            engine.unload_lora(f"a{number}")
        assert held_bytes() == before


def test_sleep_gives_their_bytes_back(tmp_path: Path) -> None:
    written("sd", tmp_path)
    with engine_of(on_cpu("sd"), settings(tmp_path)) as engine:
        engine.generate("a red cat", size=SIZE, num_inference_steps=1, lora="one")
        assert engine._adapters.statistics()["lora_device"].entries == 1
        engine.sleep()
        assert engine._adapters.statistics()["lora_device"].entries == 0
        engine.wake()
        engine.generate("a red cat", size=SIZE, num_inference_steps=1, lora="one")
