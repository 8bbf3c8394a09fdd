"""The loop goes on until a signal, whichever of the two, and the supervisor hears of it."""

from __future__ import annotations

import signal

import pytest

from imagegen.launch.child_process import ServerError
from imagegen.launch.serving_loop import StopSignals, keep_serving
from imagegen.launch.supervisor import State, Supervisor
from tests.unit.launch.test_supervisor import Server

pytestmark = pytest.mark.usefixtures("signal_handlers")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_starts_the_server_and_ends_after_a_signal(number: signal.Signals) -> None:
    server, seen = Server(), []
    server.ready_when_launched = True
    supervisor = Supervisor(server, lambda text: None)

    def each_tick() -> None:
        seen.append(supervisor.state)
        signal.raise_signal(number)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell's background job
    keep_serving(supervisor, each_tick, StopSignals())
    assert seen == [State.SERVING]
    assert supervisor.state is State.DRAINING
    assert server.did[0] == "launch"
    signal.raise_signal(number)  # a further one does not disturb the drain
    assert supervisor.state is State.DRAINING


def test_a_server_that_never_serves_ends_it() -> None:
    server = Server()
    supervisor = Supervisor(server, lambda text: None)

    def each_tick() -> None:
        server.wrong = "the server ended by itself with status 1"

    with pytest.raises(ServerError, match="status 1"):
        keep_serving(supervisor, each_tick, StopSignals())


def test_a_signal_before_the_start_is_not_lost() -> None:
    server = Server()
    supervisor = Supervisor(server, lambda text: None)
    stop = StopSignals()
    signal.raise_signal(signal.SIGTERM)
    keep_serving(supervisor, lambda: None, stop)
    assert server.did == []
    assert supervisor.state is State.DRAINING


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_next_signal_interrupts_where_that_is_asked_for(number: signal.Signals) -> None:
    stop = StopSignals()
    signal.raise_signal(number)
    assert stop.received
    stop.interrupt_at_next()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
