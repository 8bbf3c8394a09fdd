"""The engine's process is told of adapters, and whoever asked waits for what it says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from imagegen.api.errors import InvalidArgument, Unavailable
from imagegen.engine.worker.messages import LoadLora, LoraReply, UnloadLora, message_to_worker
from imagegen.engine.worker.remote_loras import RemoteLoras
from imagegen.engine.worker.wire_errors import failed
from tests.unit.tiny_engine import TIMEOUT_S, wait_until


class Process:
    """Takes messages as long as it lives."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.lives = True
        self.loras = RemoteLoras(lambda: self._take if self.lives else None)

    def _take(self, frames: Any) -> None:
        self.heard.append(message_to_worker(frames[0]))


@pytest.fixture
def process() -> Process:
    return Process()


def test_who_asked_waits_for_the_reply(process: Process, pool: ThreadPoolExecutor) -> None:
    loaded, refused = pool.submit(process.loras.load, "a", "/a"), pool.submit(process.loras.load, "b", "/b")
    wait_until(lambda: len(process.heard) == 2)
    numbers = {message.name: message.number for message in process.heard}
    assert {(message.name, message.where) for message in process.heard} == {("a", "/a"), ("b", "/b")}
    problem = InvalidArgument("lora_path", "b: it is empty")
    process.loras.told(LoraReply(numbers["b"], failed(numbers["b"], problem)))
    process.loras.told(LoraReply(numbers["a"], None))
    process.loras.told(LoraReply(99, None))  # nobody asked
    loaded.result()
    with pytest.raises(InvalidArgument, match="lora_path: b: it is empty"):
        refused.result()


def test_its_end_is_a_reply_too(process: Process, pool: ThreadPoolExecutor) -> None:
    waits = pool.submit(process.loras.load, "a", "/a")
    wait_until(lambda: len(process.heard) == 1)
    process.loras.lost()
    with pytest.raises(Unavailable, match="no process"):
        waits.result()


def test_without_a_process_nobody_waits(process: Process) -> None:
    process.lives = False
    with pytest.raises(Unavailable, match="no process"):
        process.loras.load("a", "/a")
    process.loras.unload("a")
    assert process.heard == []


def test_a_process_that_is_replaced_at_that_moment_does_not_keep_anybody_waiting(
    process: Process, pool: ThreadPoolExecutor
) -> None:
    """The end of the one that was asked had been told to all before this one was known to wait."""
    senders = iter([process._take, lambda frames: None])
    loras = RemoteLoras(lambda: next(senders))
    with pytest.raises(Unavailable, match="no process"):
        pool.submit(loras.load, "a", "/a").result(TIMEOUT_S)


def test_unloading_needs_no_reply(process: Process) -> None:
    process.loras.unload("a")
    assert process.heard == [UnloadLora("a")]
    assert LoadLora(1, "a", "/a") != process.heard[0]
