"""Where an image's memory cannot be measured, or not alone, the model is served all the same and nothing is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from imagegen.api.errors import Cancelled
from imagegen.engine import Engine, EngineSettings
from imagegen.engine.memory_costs import MemoryMeter
from tests.accelerator import DEVICE, NAME
from tests.on_accelerator.families import denoiser, engine_of, on_device
from tests.unit.tiny_engine import ENDLESS, SETTINGS, wait_until

WARMED = SETTINGS.model_copy(update={"warmup_sizes": ("48x48", "96x96")})
KEPT: list[torch.Tensor] = []


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    yield
    KEPT.clear()


def assert_nothing_learnt(engine: Engine) -> None:
    """Whatever the size: it is served, and every task is offered."""
    assert engine._runner._memory_costs._seen == {}
    assert set(engine.pipelines.tasks) == {"text-to-image", "image-to-image", "inpainting"}
    DEVICE.memory.limit_bytes = DEVICE.memory.live_bytes + 2**30
    assert engine.generate("a red cat", size="192x192", num_inference_steps=1).frames.shape == (1, 192, 192, 3)


def test_a_device_that_does_not_say_what_it_has_is_served(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Intel's under WSL2 raises: the model was not loaded, as if its own task were impossible."""

    def mem_get_info(device: Any = None) -> None:
        raise RuntimeError("the device does not have the free memory aspect")

    monkeypatch.setattr(torch.get_device_module(NAME), "mem_get_info", mem_get_info, raising=False)
    with engine_of(on_device("sd"), WARMED) as engine:
        engine.warm_up()
        monkeypatch.undo()
        assert_nothing_learnt(engine)
    assert "what an image of 48x48 takes could not be measured" in caplog.text
    assert "does not have the free memory aspect" in caplog.text


def test_a_device_that_breaks_meanwhile_ends_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise torch.AcceleratorError("an illegal memory access was encountered")

    monkeypatch.setattr(MemoryMeter, "finish", broken)
    with engine_of(on_device("sd"), WARMED) as engine, pytest.raises(torch.AcceleratorError):
        engine.warm_up()


def test_nothing_is_learnt_while_something_else_takes_memory(caplog: pytest.LogCaptureFixture) -> None:
    pipelines = on_device("sd")
    hook = denoiser(pipelines).register_forward_pre_hook(lambda *_: KEPT.append(torch.ones(1000, 1000).to(NAME)))
    with engine_of(pipelines, WARMED) as engine:
        engine.warm_up()
        hook.remove()
        assert_nothing_learnt(engine)
    said = r"what an image of 96x96 takes was not learnt: 0\.008\d* GB more rest on the device than before"
    assert re.search(said, caplog.text)


def test_nothing_is_learnt_while_another_engine_uses_the_device(caplog: pytest.LogCaptureFixture) -> None:
    """What that holds at a step was counted as the image's, and sizes that fit were refused for good."""
    serving: EngineSettings = SETTINGS
    with (
        engine_of(on_device("sd"), serving) as other,
        Engine(WARMED, pipelines=on_device("sd")) as engine,
        ThreadPoolExecutor(1) as pool,
    ):
        endless = pool.submit(other.generate, "a dog", num_inference_steps=ENDLESS, request_id="endless")
        wait_until(lambda: other.active_requests == 1)
        engine.warm_up()
        assert other.cancel("endless")
        with pytest.raises(Cancelled):
            endless.result()
        assert_nothing_learnt(engine)
        engine.warm_up()
        assert engine._runner._memory_costs._seen != {}, "it is alone now"
    assert "what an image of 48x48 takes was not learnt: another engine used the device" in caplog.text
