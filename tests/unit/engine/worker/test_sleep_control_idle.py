"""An engine's process that has nothing to do sleeps by itself; here it is played by the test."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from imagegen.api.errors import Asleep
from imagegen.engine.worker.messages import Generate
from tests.unit.engine.worker.played_process import Process
from tests.unit.engine.worker.test_sleep_control import SETTINGS, begun, kinds, opened
from tests.unit.tiny_engine import wait_until

IDLE = SETTINGS.model_copy(update={"idle_sleep_s": 0.1})


@pytest.mark.parametrize("level", [1, 2])
def test_idle_it_sleeps_by_itself_and_a_request_wakes_it(
    processes: list[Process], pool: ThreadPoolExecutor, level: int
) -> None:
    alive: list[int] = []
    settings = IDLE.model_copy(update={"idle_sleep_level": level})
    with opened(settings, on_alive=lambda: alive.append(1), on_lost=lambda: alive.append(0)) as engine:
        wait_until(lambda: engine.sleeping == level)
        results = [pool.submit(engine.generate, "x") for _ in range(2)]
        wait_until(lambda: kinds(processes[-1]).count(Generate) == 2)
        assert engine.sleeping == 0
        processes[-1].finish_all()
        assert [result.result(20).seeds for result in results] == [(1,), (1,)]
        wait_until(lambda: engine.sleeping == level)
        assert 0 not in alive, "it is ready all the time"


def test_busy_it_does_not_sleep(processes: list[Process], pool: ThreadPoolExecutor) -> None:
    with opened(IDLE) as engine:
        begun(engine, pool, processes[0])
        time.sleep(0.4)
        assert engine.sleeping == 0


def test_an_administrator_counts_more_than_idleness(processes: list[Process]) -> None:
    with opened(IDLE) as engine:
        wait_until(lambda: engine.sleeping == 1)
        engine.sleep(1)
        with pytest.raises(Asleep):
            engine.generate("x")
        assert engine.sleeping == 1
        engine.wake()
        wait_until(lambda: engine.sleeping == 1)
