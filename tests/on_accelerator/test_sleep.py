"""An engine that sleeps holds no byte of its device, and the first image after it is that from before."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from imagegen.pipelines.checkpoint import Pipelines
from tests.accelerator import DEVICE, Kind, PretendTensor
from tests.on_accelerator.families import SIZE, engine_of, on_device
from tests.unit.tiny_engine import image, wait_until

MEMORY = DEVICE.memory
FEW: dict[str, Any] = {"size": SIZE, "num_inference_steps": 2}


class Once:
    """Moves each tensor once: weights that two modules share stay shared, as where a parameter is given other data."""

    def __init__(self, move: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._move = move
        self._moved: dict[tuple[int, torch.Size], tuple[torch.Tensor, torch.Tensor]] = {}

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        numbers = tensor.host if isinstance(tensor, PretendTensor) else tensor
        key = numbers.data_ptr(), numbers.shape
        if key not in self._moved:
            self._moved[key] = tensor, self._move(tensor)
        return self._moved[key][1]


@pytest.fixture(autouse=True)
def _parameters_are_replaced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`Module.to` gives a parameter another device's data; for the pretend device it has to be another parameter."""
    apply: Any = torch.nn.Module._apply

    def apply_once(module: torch.nn.Module, move: Any, recurse: bool = True) -> Any:
        return apply(module, move if isinstance(move, Once) else Once(move), recurse)

    monkeypatch.setattr(torch.nn.Module, "_apply", apply_once)
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    yield
    torch.__future__.set_overwrite_module_params_on_conversion(False)


def settled(expected_bytes: int) -> int:
    """Bytes on the device, once its thread has let go of what a request held: a moment after its client.

    What tests before this one have left may go meanwhile, so fewer than expected are as good.
    """
    for _ in range(100):
        gc.collect()
        if expected_bytes >= MEMORY.live_bytes:
            break
        time.sleep(0.01)
    return MEMORY.live_bytes


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux"])
def test_every_byte_is_given_back_and_taken_again(family: str) -> None:
    gc.collect()
    others_bytes = MEMORY.live_bytes
    pipelines = on_device(family)
    weights_bytes = MEMORY.live_bytes - others_bytes
    assert weights_bytes > 0
    with engine_of(pipelines) as engine:
        before = engine.generate("a red cat", seed=1, **FEW)
        kept_bytes = MEMORY.live_bytes - others_bytes
        assert kept_bytes > weights_bytes, "the prompt is remembered"
        for _ in range(2):
            engine.sleep()
            asleep_bytes = settled(others_bytes)
            assert asleep_bytes <= others_bytes, MEMORY.by_line()
            engine.wake()
            assert settled(asleep_bytes + weights_bytes) == asleep_bytes + weights_bytes
        after = engine.generate("a red cat", seed=1, **FEW)
        np.testing.assert_array_equal(after.frames, before.frames)
    del pipelines, engine
    assert settled(others_bytes) <= others_bytes, "an engine that is made then finds the device empty"


def test_all_tasks_are_there_again_and_what_is_shared_moves_once() -> None:
    pipelines = on_device("sd")
    with engine_of(pipelines) as engine:
        options: dict[str, Any] = {"images": image(), "strength": 1.0, "seed": 1, "num_inference_steps": 2}
        before = engine.generate("a red cat", **options)
        engine.sleep()
        DEVICE.counters.reset()
        engine.wake()
        tensors = sum(len(list(module.parameters())) + len(list(module.buffers())) for module in modules(pipelines))
        assert copies_to_the_device() == tensors
        np.testing.assert_array_equal(engine.generate("a red cat", **options).frames, before.frames)


def test_a_device_that_others_have_filled_is_left_to_them() -> None:
    with engine_of(on_device("sd")) as engine:
        engine.sleep()
        gc.collect()
        held_bytes = MEMORY.live_bytes
        MEMORY.limit_bytes = held_bytes + 100_000
        with pytest.raises(torch.OutOfMemoryError):
            engine.wake()
        assert engine.sleeping == 1
        assert settled(held_bytes) == held_bytes
        MEMORY.limit_bytes = None
        engine.wake()
        engine.generate("a red cat", **FEW)


def test_requests_under_way_finish_first() -> None:
    with engine_of(on_device("sd")) as engine, ThreadPoolExecutor(1) as pool:
        generating = pool.submit(engine.generate, "a red cat", size=SIZE, num_inference_steps=20)
        wait_until(lambda: engine.active_requests == 1)
        engine.sleep()
        assert generating.done() or generating.result(20)
        assert engine.active_requests == 0


def modules(pipelines: Pipelines) -> list[torch.nn.Module]:
    pipeline = pipelines.tasks["text-to-image"].pipeline
    return [component for component in pipeline.components.values() if isinstance(component, torch.nn.Module)]


def copies_to_the_device() -> int:
    return DEVICE.counters.total(Kind.TO_DEVICE, None)
