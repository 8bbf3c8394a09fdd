"""A folder for sockets, processes that a test plays, and threads for what waits for them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from imagegen.engine.worker import engine_process, sleep_control
from tests.unit.engine.worker.played_process import READY, Process


@pytest.fixture
def folder() -> Iterator[Path]:
    """Its path is short, since a socket's has to be."""
    with tempfile.TemporaryDirectory(prefix="w-", dir="/tmp") as made:
        yield Path(made)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[Process]:
    """Those that were started; each is ready at once."""
    Process.all = []
    Process.on_start = staticmethod(lambda process: process.say(READY))
    monkeypatch.setattr(engine_process, "WorkerProcess", Process)
    monkeypatch.setattr(sleep_control, "_ALIVE_EVERY_S", 0.02)
    return Process.all


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made
