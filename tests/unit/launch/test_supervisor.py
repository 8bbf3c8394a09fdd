"""What the supervisor decides, with a server and a clock that the test controls."""

from __future__ import annotations

import pytest

from imagegen.backoff import Backoff
from imagegen.launch.child_process import ServerError
from imagegen.launch.supervisor import TICK_S, State, Supervisor


class Server:
    """A server whose readiness and troubles the test sets."""

    ready_timeout_s = 100.0

    def __init__(self) -> None:
        self.did: list[str] = []
        self.ready = False
        self.ready_when_launched = False
        self.wrong: str | None = None
        self.silent = False
        self.cannot_start = False

    def launch(self) -> None:
        self.did.append("launch")
        if self.cannot_start:
            raise ServerError("port 8000 is not available")
        self.ready, self.wrong, self.silent = self.ready_when_launched, None, False

    def kill(self) -> None:
        self.did.append("kill")

    def is_ready(self) -> bool:
        return self.ready

    def note_workers(self) -> None:
        self.did.append("note")

    def trouble(self) -> str | None:
        return self.wrong

    def hangs(self) -> bool:
        return self.silent

    def reason(self) -> str:
        return "model diffusion: no such checkpoint"


class Bench:
    """A supervisor, its server and its clock."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.server = Server()
        self.reports: list[str] = []
        self.supervisor = Supervisor(self.server, self.reports.append, Backoff(), lambda: self.now_s)
        self.supervisor.start()

    def tick(self, after_s: float = TICK_S) -> State:
        self.now_s += after_s
        self.supervisor.tick()
        return self.supervisor.state

    def serve(self) -> None:
        self.server.ready = True
        assert self.tick() is State.SERVING


def test_a_dead_worker_is_noticed_at_the_next_tick_and_the_server_started_at_once() -> None:
    bench = Bench()
    assert bench.tick() is State.STARTING
    bench.serve()
    assert bench.server.did[-1] == "note"
    bench.server.wrong = "the model process of diffusion died"
    assert bench.tick() is State.STARTING
    assert bench.server.did[-2:] == ["kill", "launch"]
    assert bench.reports[-1] == "the model process of diffusion died; it is started again"
    bench.serve()
    assert bench.supervisor.restarts == 1
    assert TICK_S < 2


def test_a_crash_loop_waits_ever_longer_and_is_not_serving_meanwhile() -> None:
    bench = Bench()
    bench.serve()
    waits = []
    for _ in range(9):
        bench.server.wrong = "died"
        bench.tick()
        waited = 0.0
        while bench.supervisor.state is State.WAITING:
            bench.tick(1.0)
            waited += 1
        waits.append(waited)
    assert waits == [0, 1, 2, 4, 8, 16, 32, 60, 60]


def test_who_has_served_for_long_is_started_at_once_again() -> None:
    bench = Bench()
    bench.serve()
    for _ in range(5):
        bench.server.wrong = "died"
        while bench.tick(60) is not State.STARTING:
            pass
        bench.serve()
        bench.tick(61)
    assert [text for text in bench.reports if "started again in" in text] == []


def test_a_start_that_takes_too_long_or_fails_is_another_failure() -> None:
    bench = Bench()
    bench.serve()
    bench.server.wrong = "died"
    bench.tick()
    assert bench.tick(101) is State.WAITING
    assert bench.reports[-1] == "the server is not ready after 100 s; it is started again in 1 s"
    bench.server.cannot_start = True
    assert bench.tick(2) is State.WAITING
    assert bench.reports[-1] == "port 8000 is not available; it is started again in 2 s"
    bench.server.cannot_start = False
    assert bench.tick(2) is State.STARTING


def test_a_server_that_never_served_is_not_started_again() -> None:
    bench = Bench()
    bench.server.wrong = "the server ended by itself with status 1"
    with pytest.raises(ServerError, match="status 1: model diffusion: no such checkpoint"):
        bench.tick()
    assert bench.server.did[-1] == "kill"


def test_a_server_that_hangs_is_ended() -> None:
    bench = Bench()
    bench.serve()
    bench.server.silent = True
    bench.tick(10)
    assert bench.reports[-1] == "the server does not respond; it is started again"


def test_a_server_that_is_drained_is_left_alone() -> None:
    bench = Bench()
    bench.serve()
    bench.supervisor.drain()
    bench.server.wrong = "died"
    assert bench.tick() is State.DRAINING
    assert "kill" not in bench.server.did
