"""The loop goes on until a signal, whichever of the two, and the supervisor hears of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from imagegen.launch.child_process import ServerError
from imagegen.launch.serving_loop import keep_serving
from imagegen.launch.supervisor import State, Supervisor
from tests.unit.launch.test_supervisor import Server


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_starts_the_server_and_ends_after_a_signal(number: signal.Signals) -> None:
    server, seen = Server(), []
    server.ready_when_launched = True
    supervisor = Supervisor(server, lambda text: None)

    def each_tick() -> None:
        seen.append(supervisor.state)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell's background job
    keep_serving(supervisor, each_tick)
    assert seen == [State.SERVING]
    assert supervisor.state is State.DRAINING
    assert server.did[0] == "launch"
    os.kill(os.getpid(), number)  # a further one does not disturb the drain
    assert supervisor.state is State.DRAINING


def test_a_server_that_never_serves_ends_it() -> None:
    server = Server()
    supervisor = Supervisor(server, lambda text: None)

    def each_tick() -> None:
        server.wrong = "the server ended by itself with status 1"

    with pytest.raises(ServerError, match="status 1"):
        keep_serving(supervisor, each_tick)
