"""The engine's process is started, listened to, ended when it hangs, and started again; here it is played by the test.

With real processes: tests/service/test_engine_process.py.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from imagegen.api.errors import InvalidArgument, Unavailable
from imagegen.backoff import Backoff
from imagegen.engine import EngineProcess, EngineSettings
from imagegen.engine.worker import engine_process
from imagegen.engine.worker.messages import (
    Alive,
    Close,
    Failed,
    Generate,
    Load,
    LoadFailed,
    LoadLora,
    LoraReply,
    UnloadLora,
)
from tests.unit.engine.worker.played_process import DESCRIPTION, READY, Process
from tests.unit.tiny_engine import wait_until

SETTINGS = EngineSettings(model="tiny", max_active_requests=2, hang_timeout_s=0.2, drain_timeout_s=5)


def opened(settings: EngineSettings = SETTINGS, **options: Any) -> EngineProcess:
    return EngineProcess(settings, model_folder=Path("/models"), device="cpu", run_folder=Path("/run"), **options)


def test_it_is_told_what_to_load_and_says_what_it_has(processes: list[Process]) -> None:
    with opened() as engine:
        assert engine.description == DESCRIPTION
        assert (engine.granularity_px, engine.pid) == (8, 77)
        [load] = processes[0].heard
    assert isinstance(load, Load)
    assert (load.folder, load.device) == (b"/models", "cpu")
    assert EngineSettings.model_validate_json(load.settings) == SETTINGS
    assert engine.pid is None


def test_signs_of_life_are_passed_on_and_its_end_too(processes: list[Process]) -> None:
    seen: list[str] = []
    with opened(on_alive=lambda: seen.append("alive"), on_lost=lambda: seen.append("lost")):
        processes[0].say(Alive())
        processes[0].end()
        wait_until(lambda: len(processes) == 2)
        wait_until(lambda: seen == ["alive", "alive", "lost", "alive"])


def test_it_is_started_again_at_once_then_ever_later(processes: list[Process], monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    with opened() as engine:

        def wait(pause_s: float) -> bool:
            pauses.append(pause_s)
            return engine._closing.is_set()

        monkeypatch.setattr(engine._closing, "wait", wait)
        for count in range(1, 10):
            processes[-1].end()
            wait_until(lambda count=count: len(processes) > count)  # type: ignore[misc]
    assert pauses == [0, 1, 2, 4, 8, 16, 32, 60, 60]


def test_who_has_lived_long_is_started_again_at_once(processes: list[Process], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_process, "_BACKOFF", Backoff(stable_s=0.0))
    with opened():
        for count in range(1, 5):
            processes[-1].end()
            wait_until(lambda count=count: len(processes) > count)  # type: ignore[misc]


def test_who_has_finished_a_request_is_started_again_at_once(
    processes: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However short its life was; one that finished none waits ever longer again."""
    pauses: list[float] = []
    with opened() as engine:

        def wait(pause_s: float) -> bool:
            pauses.append(pause_s)
            return engine._closing.is_set()

        monkeypatch.setattr(engine._closing, "wait", wait)
        for count, finishes in enumerate((False, False, True, True, False), 1):
            if finishes:
                processes[-1].finishes_requests = True
                engine.generate("a cat")
            processes[-1].end()
            wait_until(lambda count=count: len(processes) > count)  # type: ignore[misc]
    assert pauses == [0, 1, 0, 0, 1]


def test_after_its_end_only_what_is_compiled_is_warmed_up_again(processes: list[Process]) -> None:
    with opened():
        processes[0].end()
        wait_until(lambda: len(processes) == 2 and bool(processes[1].heard))
    sizes = [EngineSettings.model_validate_json(process.heard[0].settings).warmup_sizes for process in processes]
    assert sizes == [(), ("none",)]


def test_after_its_end_what_is_compiled_is_warmed_up_again(processes: list[Process]) -> None:
    """Its packages are loaded by the warm-up."""
    with opened(SETTINGS.model_copy(update={"compile": "aot"})):
        processes[0].end()
        wait_until(lambda: len(processes) == 2 and bool(processes[1].heard))
    sizes = [EngineSettings.model_validate_json(process.heard[0].settings).warmup_sizes for process in processes]
    assert sizes == [(), ()]


def test_one_that_shows_no_sign_of_life_is_ended(processes: list[Process]) -> None:
    with opened():
        wait_until(lambda: processes[0].killed == ["hang"])
        wait_until(lambda: len(processes) == 2)


def test_while_it_loads_it_may_be_silent(processes: list[Process]) -> None:
    Process.on_start = staticmethod(lambda process: None)
    made: list[EngineProcess] = []
    thread = threading.Thread(target=lambda: made.append(opened()))
    thread.start()
    thread.join(3 * SETTINGS.hang_timeout_s)
    assert thread.is_alive()
    assert not processes[0].killed
    processes[0].say(READY)
    thread.join(20)
    made[0].close()


@pytest.mark.parametrize(
    ("kind", "raised"), [("ValueError", ValueError), ("OSError", OSError), ("KeyError", RuntimeError)]
)
def test_what_it_cannot_load_is_raised(processes: list[Process], kind: str, raised: type[Exception]) -> None:
    def fail(process: Process) -> None:
        process.say(LoadFailed(kind, "no such model"))
        process.end("closed")

    Process.on_start = staticmethod(fail)
    with pytest.raises(raised, match="no such model"):
        opened()
    assert len(processes) == 1


def test_one_that_dies_while_it_loads_is_not_tried_again(processes: list[Process]) -> None:
    Process.on_start = staticmethod(lambda process: process.end("killed"))
    with pytest.raises(RuntimeError, match="ended while it loaded: killed"):
        opened()
    assert len(processes) == 1


def test_what_it_had_is_told_and_what_waits_goes_to_the_next_one(processes: list[Process]) -> None:
    """`Unavailable` at once, though no forward ends any more."""
    with opened() as engine:
        errors: list[BaseException] = []

        def generate(prompt: str) -> None:
            try:
                engine.generate(prompt)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=generate, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        wait_until(lambda: engine.waiting_requests == 1)
        processes[0].end()
        for thread in threads[:2]:
            thread.join(20)
        assert [type(error) for error in errors] == [Unavailable, Unavailable]
        wait_until(lambda: len(processes) == 2 and isinstance(processes[1].heard[-1], Generate))
    threads[2].join(20)
    assert [type(error) for error in errors] == [Unavailable] * 3, "closed"


def test_close_tells_it_to_finish(processes: list[Process]) -> None:
    engine = opened()
    engine.close()
    assert isinstance(processes[0].heard[-1], Close)
    assert len(processes) == 1
    with pytest.raises(Unavailable, match="shutting down"):
        engine.generate("x")


def test_close_ends_one_that_does_not(processes: list[Process], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_process, "_EXIT_S", 0.1)
    monkeypatch.setattr(Process, "send", lambda self, frames: None)
    engine = EngineProcess(SETTINGS.model_copy(update={"drain_timeout_s": 0.0, "hang_timeout_s": 60}))
    engine.close()
    assert processes[0].killed == ["closed"]


def test_its_own_folder_is_removed(processes: list[Process]) -> None:
    engine = EngineProcess(SETTINGS)
    folder = engine._folder
    assert folder.is_dir()
    engine.close()
    assert not folder.exists()


def test_one_that_cannot_be_started_is_told_and_later_tried_again(
    processes: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(process: Process) -> None:
        raise OSError("path too long")

    Process.on_start = staticmethod(fail)
    with pytest.raises(OSError, match="path too long"):
        opened()
    Process.on_start = staticmethod(lambda process: process.say(READY))
    with opened() as engine:
        Process.on_start = staticmethod(fail)
        monkeypatch.setattr(engine._closing, "wait", lambda pause_s: engine._closing.is_set())
        count = len(processes)
        processes[-1].end()
        wait_until(lambda: len(processes) > count)
        Process.on_start = staticmethod(lambda process: process.say(READY))
        wait_until(lambda: engine.pid is not None)


def test_adapters_are_offered_once_the_process_has_read_them_and_by_the_next_one_too(processes: list[Process]) -> None:
    with opened() as engine:
        processes[0].replies[LoadLora] = LoraReply(0, None)
        engine.load_lora("outline", "/adapters/outline.safetensors")
        assert engine.catalog.names() == ("outline",)
        assert processes[0].heard[-1] == LoadLora(0, "outline", "/adapters/outline.safetensors")
        processes[0].end()
        wait_until(lambda: len(processes) == 2 and engine.pid == 77)
        assert processes[1].heard[0].loras == {"outline": "/adapters/outline.safetensors"}
        engine.unload_lora("outline")
        assert engine.catalog.names() == ()
        wait_until(lambda: processes[1].heard[-1] == UnloadLora("outline"))
    assert processes[0].heard[0].loras is None, "those of the settings are read and checked"


def test_one_that_is_unloaded_while_another_process_starts_is_not_offered_by_it(processes: list[Process]) -> None:
    with opened() as engine:
        processes[0].replies[LoadLora] = LoraReply(0, None)
        engine.load_lora("outline", "/outline")
        Process.on_start = staticmethod(lambda process: engine.unload_lora("outline"))
        processes[0].end()
        wait_until(lambda: len(processes) == 2 and bool(processes[1].heard))
        assert processes[1].heard[0].loras == {}
        processes[1].say(READY)


def test_an_adapter_that_the_process_refuses_is_not_offered(processes: list[Process]) -> None:
    with opened() as engine:
        processes[0].replies[LoadLora] = LoraReply(0, Failed(0, "invalid_argument", "it is empty", "lora_path"))
        with pytest.raises(InvalidArgument, match="lora_path: it is empty"):
            engine.load_lora("outline", "/outline")
        assert engine.catalog.names() == ()
