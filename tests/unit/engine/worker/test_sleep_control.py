"""An engine's process sleeps when it is told to or idle, and wakes; here it is played by the test.

With real processes: tests/service/test_engine_sleep.py.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from imagegen.api.errors import Asleep, DeadlineExceeded, InvalidArgument, Unavailable
from imagegen.engine import EngineProcess, EngineSettings
from imagegen.engine.worker.messages import Alive, Cancel, Close, Generate, Left, LoadFailed, Sleep, Wake
from tests.unit.engine.worker.played_process import READY, Process
from tests.unit.engine.worker.test_remote_metrics import Backend
from tests.unit.tiny_engine import wait_until

SETTINGS = EngineSettings(model="tiny", max_active_requests=2, hang_timeout_s=0.3, drain_timeout_s=5)
WAITS: dict[str, Any] = {"timeout_ms": 20_000}


def opened(settings: EngineSettings = SETTINGS, **options: Any) -> EngineProcess:
    return EngineProcess(settings, device="cpu", run_folder=Path("/run"), **options)


def kinds(process: Process) -> list[type[Any]]:
    return [type(message) for message in process.heard[1:]]


def begun(engine: EngineProcess, pool: ThreadPoolExecutor, process: Process, **options: Any) -> Future[Any]:
    """A request that the process has."""
    result = pool.submit(engine.generate, "x", **options)
    wait_until(lambda: bool(process.heard) and isinstance(process.heard[-1], Generate))
    return result


def test_level_1_tells_the_process_and_wakes_it(processes: list[Process]) -> None:
    with opened() as engine:
        assert engine.sleeping == 0
        engine.wake()
        engine.sleep()
        assert (engine.sleeping, engine.pid) == (1, 77)
        engine.sleep(1)
        engine.wake()
        engine.wake()
        assert engine.sleeping == 0
        assert kinds(processes[0]) == [Sleep, Wake]
    assert len(processes) == 1


def test_level_2_ends_the_process_and_starts_another(
    processes: list[Process], caplog: pytest.LogCaptureFixture
) -> None:
    """It is no crash: nothing is logged as an error, counted, or waited for."""
    backend, lost = Backend(), []
    with caplog.at_level(logging.INFO), opened(new_series=backend, on_lost=lambda: lost.append(1)) as engine:
        engine.sleep(2)
        assert (engine.sleeping, engine.pid) == (2, None)
        assert kinds(processes[0]) == [Close]
        time.sleep(0.1)
        assert len(processes) == 1
        started_s = time.monotonic()
        engine.wake()
        assert time.monotonic() - started_s < 0.9
        assert (engine.sleeping, len(processes)) == (0, 2)
        assert not lost
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert sum(backend.values["restarts_total", "closed"]) == 0
    assert backend.values["sleep_level",][-1] == 0


def test_from_level_1_it_goes_on_to_2_and_not_back(processes: list[Process]) -> None:
    with opened() as engine:
        engine.sleep(1)
        engine.sleep(2)
        engine.sleep(1)
        assert (engine.sleeping, engine.pid) == (2, None)
        engine.wake()
        assert len(processes) == 2


@pytest.mark.parametrize("level", [0, 3, -1])
def test_another_level_is_refused_by_name(processes: list[Process], level: int) -> None:
    with opened() as engine:
        with pytest.raises(InvalidArgument, match=f"level: {level} is not one of 1, 2") as refused:
            engine.sleep(level)
        assert (refused.value.field, engine.sleeping) == ("level", 0)


@pytest.mark.parametrize("level", [1, 2])
def test_asleep_it_refuses_who_has_no_deadline_and_lets_the_others_wait(
    processes: list[Process], pool: ThreadPoolExecutor, level: int
) -> None:
    with opened() as engine:
        engine.sleep(level)
        with pytest.raises(Asleep, match="the model is asleep; an administrator can wake it"):
            engine.generate("x")
        with pytest.raises(DeadlineExceeded):
            engine.generate("x", timeout_ms=50)
        waiting = pool.submit(engine.generate, "x", **WAITS)
        wait_until(lambda: engine.waiting_requests == 1)
        engine.wake()
        wait_until(lambda: isinstance(processes[-1].heard[-1], Generate))
        processes[-1].finish_all()
        assert waiting.result(20).seeds == (1,)
        engine.sleep(level)
        with pytest.raises(Asleep):
            asyncio.run(engine.generate_async("x"))


def test_who_waits_without_a_deadline_when_it_falls_asleep_is_refused(
    processes: list[Process], pool: ThreadPoolExecutor
) -> None:
    with opened(SETTINGS.model_copy(update={"max_active_requests": 1})) as engine:
        first = begun(engine, pool, processes[0])
        second = pool.submit(engine.generate, "y")
        wait_until(lambda: engine.waiting_requests == 1)
        sleeping = pool.submit(engine.sleep)
        with pytest.raises(Asleep):
            second.result(20)
        assert not sleeping.done()
        processes[0].finish_all()
        assert first.result(20).seeds == (1,)
        sleeping.result(20)
    # Besides it is told that somebody waits, and whoever has its result cancels its request.
    assert [kind for kind in kinds(processes[0]) if kind in (Generate, Sleep)][:2] == [Generate, Sleep]


def test_what_takes_longer_than_the_drain_ends(processes: list[Process], pool: ThreadPoolExecutor) -> None:
    with opened(SETTINGS.model_copy(update={"drain_timeout_s": 0.1, "hang_timeout_s": 5})) as engine:
        request = begun(engine, pool, processes[0])
        sleeping = pool.submit(engine.sleep)
        with pytest.raises(Unavailable, match="put to sleep"):
            request.result(20)
        wait_until(lambda: isinstance(processes[0].heard[-1], Cancel))
        processes[0].say(Left(0))
        sleeping.result(20)
        assert kinds(processes[0]) == [Generate, Cancel, Sleep]


@pytest.mark.parametrize("level", [1, 2])
def test_a_process_that_does_not_end_its_work_is_ended_and_nobody_blamed(
    processes: list[Process], pool: ThreadPoolExecutor, level: int
) -> None:
    with opened(SETTINGS.model_copy(update={"drain_timeout_s": 0.1})) as engine:
        for _ in range(2):
            request = begun(engine, pool, processes[-1], seed=1)
            engine.sleep(level)
            with pytest.raises(Unavailable, match="was put to sleep"):
                request.result(20)
            assert engine.sleeping == 2
            engine.wake()
        request = begun(engine, pool, processes[-1], seed=1)
        assert not request.done()


def test_one_that_dies_asleep_is_not_started_again_until_it_is_woken(
    processes: list[Process], caplog: pytest.LogCaptureFixture
) -> None:
    backend = Backend()
    seen: list[str] = []
    told: dict[str, Any] = {"on_alive": lambda: seen.append("alive"), "on_lost": lambda: seen.append("lost")}
    with opened(new_series=backend, **told) as engine:
        engine.sleep(1)
        processes[0].end("killed")
        wait_until(lambda: engine.sleeping == 2)
        alive = len(seen)
        wait_until(lambda: len(seen) > alive + 2)
        assert len(processes) == 1
        assert "lost" not in seen
        engine.wake()
        assert len(processes) == 2
    assert "ended (killed) while it slept" in caplog.text
    assert sum(backend.values["restarts_total", "killed"]) == 0


def test_one_that_shows_no_life_asleep_is_left_alone(processes: list[Process]) -> None:
    with opened() as engine:
        engine.sleep(1)
        time.sleep(3 * SETTINGS.hang_timeout_s)
        assert not processes[0].killed
        engine.wake()
        processes[0].say(Alive())
        assert not processes[0].killed


def test_one_that_cannot_wake_says_why_and_is_started_again(processes: list[Process]) -> None:
    with opened() as engine:
        engine.sleep(1)
        processes[0].replies[Wake] = LoadFailed("OutOfMemoryError", "CUDA out of memory")
        wait_until(lambda: engine.sleeping == 1)
        Process.on_start = staticmethod(lambda process: process.say(READY))

        def end_then() -> None:
            wait_until(lambda: isinstance(processes[0].heard[-1], Wake))
            processes[0].end("closed")

        thread = threading.Thread(target=end_then)
        thread.start()
        with pytest.raises(RuntimeError, match="CUDA out of memory"):
            engine.wake()
        thread.join()
        assert engine.sleeping == 0
        wait_until(lambda: len(processes) == 2 and engine.pid is not None)


@pytest.mark.parametrize("fail", ["ends", "cannot be started"])
def test_another_process_that_does_not_load_is_told_and_tried_again(processes: list[Process], fail: str) -> None:
    def start(process: Process) -> None:
        if fail == "cannot be started":
            raise OSError("no more processes")
        process.say(LoadFailed("ValueError", "no such weights"))
        process.end("closed")

    with opened() as engine:
        engine.sleep(2)
        Process.on_start = staticmethod(start)
        with pytest.raises((ValueError, OSError), match=r"no such weights|no more processes"):
            engine.wake()
        Process.on_start = staticmethod(lambda process: process.say(READY))
        wait_until(lambda: engine.pid is not None)


@pytest.mark.parametrize("level", [1, 2])
def test_put_to_sleep_while_it_loads(processes: list[Process], level: int) -> None:
    with opened() as engine:
        Process.on_start = staticmethod(lambda process: None)
        processes[0].end()
        wait_until(lambda: len(processes) == 2 and bool(processes[1].heard))
        if level == 1:  # it is let load, and sleeps then
            threading.Timer(0.1, processes[1].say, [READY]).start()
        engine.sleep(level)
        assert engine.sleeping == level
        assert engine.line.slots._paused
        Process.on_start = staticmethod(lambda process: process.say(READY))
        engine.wake()
        assert engine.sleeping == 0
        assert not engine.line.slots._paused


def test_put_to_sleep_between_two_processes(processes: list[Process], monkeypatch: pytest.MonkeyPatch) -> None:
    with opened() as engine:
        Process.on_start = staticmethod(lambda process: process.end())
        processes[0].end()
        wait_until(lambda: len(processes) == 2 and engine.pid is None)
        engine.sleep(1)
        assert engine.sleeping == 2
        Process.on_start = staticmethod(lambda process: process.say(READY))
        engine.wake()
        assert len(processes) == 3


@pytest.mark.parametrize("level", [1, 2])
def test_closing_one_that_sleeps_ends_all_that_wait(
    processes: list[Process], pool: ThreadPoolExecutor, level: int
) -> None:
    engine = opened()
    engine.sleep(level)
    waiting = pool.submit(engine.generate, "x", **WAITS)
    wait_until(lambda: engine.waiting_requests == 1)
    engine.close()
    with pytest.raises(Unavailable, match="shutting down"):
        waiting.result(20)
    with pytest.raises(Unavailable, match="shutting down"):
        engine.wake()
    with pytest.raises(Unavailable, match="shutting down"):
        engine.sleep(2)


def test_closing_ends_a_wake_that_waits(processes: list[Process], pool: ThreadPoolExecutor) -> None:
    engine = opened()
    engine.sleep(1)
    processes[0].replies.clear()
    waking = pool.submit(engine.wake)
    wait_until(lambda: isinstance(processes[0].heard[-1], Wake))
    engine.close()
    with pytest.raises(Unavailable):
        waking.result(20)


def test_several_devices_sleep_at_level_2_whatever_is_asked_for(processes: list[Process]) -> None:
    with opened(SETTINGS.model_copy(update={"devices": ("0", "1")})) as engine:
        engine.sleep()
        assert engine.sleeping == 2
        assert engine.pid is None
