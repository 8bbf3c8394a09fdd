"""An engine in a real process of its own sleeps and wakes: memory comes back, images are the same, nobody is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psutil
import pytest

from checkpoint.random_checkpoint import make_checkpoint
from imagegen.api.errors import Asleep, DeadlineExceeded
from imagegen.engine import EngineProcess, EngineSettings
from tests.unit.tiny_engine import wait_until

SMALL: dict[str, Any] = {"size": "64x64", "num_inference_steps": 2, "seed": 1}
_MIB = 2**20


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> EngineSettings:
    folder = tmp_path_factory.mktemp("engine-sleep") / "checkpoint"
    make_checkpoint(folder)
    return EngineSettings(
        model=str(folder), max_active_requests=2, max_expected_s=0, cpu_threads=1, warmup_sizes=("none",),
    )  # fmt: skip


@pytest.fixture(scope="module")
def engine(settings: EngineSettings) -> Iterator[EngineProcess]:
    with EngineProcess(settings) as made:
        yield made


@pytest.fixture(autouse=True)
def awake(engine: EngineProcess) -> Iterator[None]:
    yield
    engine.wake()


@pytest.mark.parametrize("level", [1, 2])
def test_who_has_a_deadline_waits_for_the_wake_and_gets_the_image_of_before_and_nobody_else(
    engine: EngineProcess, level: int
) -> None:
    before = engine.generate("a red cat", **SMALL)
    pid = engine.pid
    assert pid is not None
    own_bytes = psutil.Process().memory_info().rss
    engine.sleep(level)
    assert engine.sleeping == level
    assert psutil.pid_exists(pid) == (level == 1)
    assert (engine.pid == pid) == (level == 1)
    assert psutil.Process().memory_info().rss < own_bytes + 50 * _MIB
    with pytest.raises(Asleep):
        engine.generate("a red cat", **SMALL)
    with pytest.raises(DeadlineExceeded):
        engine.generate("a red cat", timeout_ms=100, **SMALL)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(engine.generate, "a red cat", timeout_ms=60_000, **SMALL)
        wait_until(lambda: engine.waiting_requests == 1)
        engine.wake()
        assert (engine.pid == pid) == (level == 1)
        np.testing.assert_array_equal(waiting.result(60).frames, before.frames)


def test_one_that_dies_asleep_is_started_again_when_it_is_woken(engine: EngineProcess) -> None:
    engine.sleep(1)
    pid = engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: engine.sleeping == 2)
    time.sleep(1)
    assert engine.pid is None
    engine.wake()
    assert engine.pid not in (None, pid)
    engine.generate("a red cat", **SMALL)


def test_idle_it_sleeps_by_itself_and_a_request_wakes_it(settings: EngineSettings) -> None:
    with EngineProcess(settings.model_copy(update={"idle_sleep_s": 0.5, "idle_sleep_level": 1})) as engine:
        pid = engine.pid
        before = engine.generate("a red cat", **SMALL)
        for _ in range(2):
            wait_until(lambda: engine.sleeping == 1)
            after = engine.generate("a red cat", **SMALL)
            np.testing.assert_array_equal(after.frames, before.frames)
        assert engine.pid == pid
