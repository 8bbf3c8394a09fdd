"""An administrator's commands reach every engine, and the response comes when they are done."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from imagegen.api.errors import InvalidArgument, Unavailable
from imagegen.engine.image_generator import ImageGenerator
from imagegen.pipelines.lora_catalog import LoraCatalog
from imagegen.triton import administration
from imagegen.triton.admin_key import ADMIN_KEY_VARIABLE, AdminKey
from imagegen.triton.administration import Administration, Administrator
from imagegen.triton.commands import CommandServer
from imagegen.triton.heartbeat import Heartbeat, is_asleep
from tests.unit.tiny_engine import wait_until

OFFERED: list[LoraCatalog] = []
"""What the other processes were told."""


class Engine:
    """Sleeps and wakes as long as its gate is open; fails where it is to."""

    def __init__(self) -> None:
        self.sleeping = 0
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.reading = threading.Event()
        self.reading.set()
        self.busy = False
        self.faults: dict[str, Exception] = {}
        self.catalog = LoraCatalog()

    def load_lora(self, name: str, where: str) -> None:
        self.busy = True
        assert self.reading.wait(20)
        self._pass()
        if name in self.faults:
            raise self.faults[name]
        self.catalog = self.catalog.with_module(name, where)

    def unload_lora(self, name: str) -> None:
        self._pass()
        self.catalog = self.catalog.without_module(name)

    def sleep(self, level: int) -> None:
        self._pass()
        self.sleeping = level

    def wake(self) -> None:
        self._pass()
        self.sleeping = 0

    def _pass(self) -> None:
        assert self.gate.wait(20)
        if self.error is not None:
            raise self.error


@pytest.fixture
def engines() -> list[Engine]:
    return [Engine(), Engine()]


@pytest.fixture
def ask(folder: Path, engines: list[Engine], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """A command with the right key, to two diffusion processes."""
    monkeypatch.setattr(administration, "_POLL_S", 0.01)
    heartbeat = Heartbeat(folder)
    sides = [
        Administration(cast(ImageGenerator[Any], e), heartbeat, f"diffusion_{i}", OFFERED.append)
        for i, e in enumerate(engines)
    ]
    OFFERED.clear()
    servers = [CommandServer(folder, side.commands()) for side in sides]
    administrator = Administrator(folder, AdminKey({ADMIN_KEY_VARIABLE: "secret"}))
    yield partial(said, administrator)
    closing: list[Any] = [administrator, *servers, *sides, heartbeat]
    for one in closing:
        one.close()


def said(
    administrator: Administrator, command: str, level: int | None = None, key: str = "secret", **texts: str
) -> Any:
    arrays: dict[str, Any] = {
        name: np.array([text.encode()], dtype=np.object_)
        for name, text in (("command", command), ("admin_key", key), *texts.items())
    }
    if level is not None:
        arrays["level"] = np.array([level], np.int32)
    state = json.loads(administrator.handle(arrays, "")["state"][0])
    assert {entry["instance"] for entry in state["instances"]} == {"diffusion_0", "diffusion_1"}
    return [entry["sleep_level"] for entry in state["instances"]]


def test_every_engine_sleeps_and_wakes_and_the_mark_says_so(
    ask: Callable[..., Any], engines: list[Engine], folder: Path
) -> None:
    assert ask("status") == [0, 0]
    assert ask("sleep") == [1, 1]
    assert is_asleep(folder)
    assert ask("sleep", 2) == [2, 2]
    assert ask("status") == [2, 2]
    assert ask("wake") == [0, 0]
    assert not is_asleep(folder)


def test_the_response_comes_when_it_is_done_and_the_state_meanwhile(
    ask: Callable[..., Any], engines: list[Engine], folder: Path
) -> None:
    engines[1].gate.clear()
    states: list[Any] = []
    thread = threading.Thread(target=lambda: states.append(ask("sleep", 2)))
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    assert is_asleep(folder), "nothing new is taken from the first moment on"
    engines[1].gate.set()
    thread.join(20)
    assert states == [[2, 2]]


def test_what_goes_wrong_is_told_and_forgotten_with_the_next_command(
    ask: Callable[..., Any], engines: list[Engine], folder: Path
) -> None:
    ask("sleep", 2)
    engines[0].error = RuntimeError("no room on the device")
    with pytest.raises(Unavailable, match="diffusion_0: no room on the device"):
        ask("wake")
    assert not is_asleep(folder), "it is tried again by itself"
    assert len(ask("status")) == 2
    engines[0].error = None
    assert ask("wake") == [0, 0]
    engines[0].error = RuntimeError("no room on the host")
    with pytest.raises(Unavailable, match="no room on the host"):
        ask("sleep")


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (("sleep", 3), "level: 3 is not one of 1, 2"),
        (("sleep", 0), "level: 0 is not one of 1, 2"),
        (("load",), "command: 'load' is not one of sleep, wake, status"),
    ],
)
def test_what_there_is_not_is_refused_by_name(
    ask: Callable[..., Any], engines: list[Engine], command: tuple[Any, ...], problem: str
) -> None:
    with pytest.raises(InvalidArgument, match=problem):
        ask(*command)
    assert [engine.sleeping for engine in engines] == [0, 0]


def test_without_the_key_nothing_is_told_not_even_what_else_is_wrong(
    ask: Callable[..., Any], engines: list[Engine]
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        ask("load", key="other")
    assert refused.value.field == "admin_key"
    with pytest.raises(InvalidArgument):
        ask("sleep", key="other")
    assert [engine.sleeping for engine in engines] == [0, 0]


def test_where_no_process_responds_it_is_said(folder: Path) -> None:
    administrator = Administrator(folder, AdminKey({ADMIN_KEY_VARIABLE: "secret"}))
    with pytest.raises(Unavailable, match="does not respond"):
        said(administrator, "status")
    administrator.close()


def test_a_sleep_that_fails_on_a_sleeping_engine_leaves_it_asleep_for_all_to_see(
    folder: Path, ask: Callable[..., Any], engines: list[Engine]
) -> None:
    assert ask("sleep", 1) == [1, 1]
    for engine in engines:
        engine.error = RuntimeError("no")
    with pytest.raises(Unavailable):
        ask("sleep", 2)
    assert is_asleep(folder)


def test_every_engine_loads_an_adapter_and_the_others_are_told(ask: Callable[..., Any], engines: list[Engine]) -> None:
    """With a name and a path as long as they may be, of characters that take most bytes."""
    name, path = "𝛑" * 256, "/" + "𝛑" * 2047
    ask("load_lora", lora_name=name, lora_path=path)
    assert [engine.catalog.modules for engine in engines] == [{name: path}] * 2
    assert [engines[0].catalog] * 2 == OFFERED
    ask("unload_lora", lora_name=name)
    assert [engine.catalog.names() for engine in engines] == [()] * 2
    assert OFFERED[-1].names() == ()


def test_two_administrators_get_each_their_own_outcome(ask: Callable[..., Any], engines: list[Engine]) -> None:
    """The one whose adapter was fine was told of the other's, or the other of nothing."""
    for engine in engines:
        engine.faults["bad"] = InvalidArgument("lora_path", "bad: it is empty")
        engine.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        names = ("bad", "good")
        asked = [pool.submit(ask, "load_lora", lora_name=name, lora_path=f"/{name}") for name in names]
        wait_until(lambda: all(engine.busy for engine in engines))
        for engine in engines:
            engine.gate.set()
        with pytest.raises(InvalidArgument, match="bad: it is empty"):
            asked[0].result()
        assert asked[1].result() == [0, 0]
    assert [engine.catalog.names() for engine in engines] == [("good",)] * 2


def test_a_sleep_does_not_wait_for_an_adapter_that_is_read(ask: Callable[..., Any], engines: list[Engine]) -> None:
    engines[0].reading.clear()
    with ThreadPoolExecutor(1) as pool:
        loads = pool.submit(ask, "load_lora", lora_name="slow", lora_path="/slow")
        wait_until(lambda: engines[0].busy)
        assert ask("sleep", 1) == [1, 1]
        assert not loads.done()
        engines[0].reading.set()
        assert loads.result() == [1, 1]


def test_a_process_that_is_started_again_meanwhile_is_said(folder: Path, engines: list[Engine]) -> None:
    side = Administration(cast(ImageGenerator[Any], engines[0]), Heartbeat(folder), "diffusion_0")
    state = json.loads(side.commands()["status"]("the command of another process"))
    assert state["is_done"]
    assert "started again" in state["problem"]
    side.close()


def test_an_adapter_that_is_refused_is_the_callers_mistake(ask: Callable[..., Any], engines: list[Engine]) -> None:
    engines[1].error = InvalidArgument("lora_path", "outline.safetensors: it is empty")
    with pytest.raises(InvalidArgument, match=r"lora_path: outline.safetensors: it is empty"):
        ask("load_lora", lora_name="outline", lora_path="/outline.safetensors")
    engines[1].error = None
    ask("load_lora", lora_name="outline", lora_path="/outline.safetensors")


def test_a_name_and_a_path_are_needed(ask: Callable[..., Any]) -> None:
    with pytest.raises(InvalidArgument, match="lora_name: missing"):
        ask("unload_lora")
    with pytest.raises(InvalidArgument, match="lora_path: missing"):
        ask("load_lora", lora_name="outline")
