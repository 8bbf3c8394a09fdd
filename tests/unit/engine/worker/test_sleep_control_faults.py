"""A wake that hangs or cannot begin does not leave an engine asleep for ever."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from imagegen.engine import EngineProcess, EngineSettings
from imagegen.engine.worker import engine_process
from imagegen.engine.worker.messages import Wake
from tests.unit.engine.worker.played_process import READY, Process
from tests.unit.tiny_engine import wait_until

SETTINGS = EngineSettings(model="tiny", max_active_requests=2, hang_timeout_s=0.2, drain_timeout_s=5)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[Process]:
    """Those that were started; each is ready at once."""
    made: list[Process] = []

    class Played(Process):
        all = made
        on_start = staticmethod(lambda process: process.say(READY))

    monkeypatch.setattr(engine_process, "WorkerProcess", Played)
    return made


def opened(settings: EngineSettings = SETTINGS) -> EngineProcess:
    return EngineProcess(settings, device="cpu", run_folder=Path("/run"))


class NoneLeft(threading.Thread):
    def start(self) -> Any:
        raise RuntimeError("can't start new thread")


def test_a_wake_that_hangs_is_ended_and_another_process_serves(processes: list[Process]) -> None:
    with opened() as engine:
        engine.sleep()
        del processes[0].replies[Wake]
        with pytest.raises(RuntimeError, match="while it woke: hang"):
            engine.wake()
        assert processes[0].killed == ["hang"]
        wait_until(lambda: len(processes) == 2 and engine.pid is not None)
        processes[1].finishes_requests = True
        assert engine.generate("x").seeds == (1,)


def test_a_wake_without_a_thread_is_left_to_the_next_request(
    processes: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(SETTINGS.model_copy(update={"idle_sleep_s": 0.05})) as engine:
        wait_until(lambda: engine.sleeping == 1)
        processes[0].finishes_requests = True
        with monkeypatch.context() as short_of_threads:
            short_of_threads.setattr(threading, "Thread", NoneLeft)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                engine.generate("x")
        assert engine.generate("x").seeds == (1,)
