"""An engine in this process sleeps once it is idle, lets wait who can, and generates the same image afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from imagegen.api.errors import Asleep, InvalidArgument, Unavailable
from imagegen.engine import Engine
from imagegen.engine.device_memory import DeviceMemory
from tests.unit.engine.worker.test_remote_metrics import Backend
from tests.unit.tiny_engine import ENDLESS, SETTINGS, tiny_engine, wait_until


@pytest.fixture
def engine() -> Iterator[Engine]:
    with tiny_engine(SETTINGS.model_copy(update={"drain_timeout_s": 0.2})) as made:
        yield made


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


def test_the_first_image_after_a_sleep_is_that_from_before_and_nothing_is_remembered(engine: Engine) -> None:
    before = engine.generate("a red cat", seed=1)
    assert engine._caches.prompt.statistics.entries > 0
    engine.sleep()
    engine.sleep()
    assert engine.sleeping == 1
    assert engine._caches.prompt.statistics.entries == 0
    engine.wake()
    engine.wake()
    assert engine.sleeping == 0
    np.testing.assert_array_equal(engine.generate("a red cat", seed=1).frames, before.frames)


def test_asleep_who_has_a_deadline_waits_and_the_others_are_refused(engine: Engine, pool: ThreadPoolExecutor) -> None:
    engine.sleep()
    with pytest.raises(Asleep):
        engine.generate("a red cat")
    waiting = pool.submit(engine.generate, "a red cat", timeout_ms=20_000)
    wait_until(lambda: engine.waiting_requests == 1)
    engine.wake()
    assert len(waiting.result(20).seeds) == 1
    engine.generate("a red cat")


def test_what_takes_longer_than_the_drain_ends_at_its_next_step(engine: Engine, pool: ThreadPoolExecutor) -> None:
    endless = pool.submit(engine.generate, "a red cat", num_inference_steps=ENDLESS)
    wait_until(lambda: engine.active_requests == 1)
    engine.sleep()
    with pytest.raises(Unavailable, match="put to sleep"):
        endless.result(20)
    assert engine.active_requests == 0


def test_it_has_one_level(engine: Engine) -> None:
    with pytest.raises(InvalidArgument, match="level: 2 is not one of 1"):
        engine.sleep(2)
    assert engine.sleeping == 0


def test_one_that_cannot_sleep_goes_on(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(memory: DeviceMemory) -> None:
        raise MemoryError

    monkeypatch.setattr(DeviceMemory, "give_back", full)
    with pytest.raises(MemoryError):
        engine.sleep()
    assert engine.sleeping == 0
    engine.generate("a red cat")


def test_one_that_cannot_wake_goes_on_sleeping(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(memory: DeviceMemory) -> None:
        raise MemoryError

    engine.sleep()
    with monkeypatch.context() as patched:
        patched.setattr(DeviceMemory, "take_again", full)
        with pytest.raises(MemoryError):
            engine.wake()
    assert engine.sleeping == 1
    with pytest.raises(Asleep):
        engine.generate("a red cat")
    engine.wake()
    engine.generate("a red cat")


def test_the_level_is_a_metric() -> None:
    backend = Backend()
    with tiny_engine(new_series=backend) as engine:
        engine.sleep()
        wait_until(lambda: bool(backend.values.get(("sleep_level",))) and backend.values["sleep_level",][-1] == 1)
        engine.wake()
    assert backend.values["sleep_level",][-1] == 0


def test_closed_it_neither_sleeps_nor_wakes(pool: ThreadPoolExecutor) -> None:
    engine = tiny_engine()
    engine.sleep()
    waiting: Any = pool.submit(engine.generate, "a red cat", timeout_ms=20_000)
    wait_until(lambda: engine.waiting_requests == 1)
    engine.close()
    for call in (waiting.result, engine.wake):
        with pytest.raises(Unavailable, match="shutting down"):
            call()
