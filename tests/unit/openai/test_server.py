"""How the server ends: by a drain, or at once."""

from __future__ import annotations

import asyncio
import signal
from typing import cast

import uvicorn

from imagegen.openai.app import Frontend
from imagegen.openai.server import DrainingServer


class DrainedFrontend:
    def __init__(self) -> None:
        self.open_requests = 1
        self.drains = 0

    def drain(self) -> None:
        self.drains += 1


class Draining:
    """A server whose clock is moved by the test."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.frontend = DrainedFrontend()

        async def app(*_: object) -> None:
            """Serves nothing."""

        self.server = DrainingServer(
            uvicorn.Config(app, log_config=None), cast(Frontend, self.frontend), 30, 60, clock=lambda: self.now_s
        )

    def signal(self) -> None:
        self.server.handle_exit(signal.SIGTERM, None)

    def ends(self) -> bool:
        return asyncio.run(self.server.on_tick(1))


def test_it_goes_on_until_requests_under_way_have_ended() -> None:
    draining = Draining()
    assert not draining.ends()
    draining.signal()
    assert draining.frontend.drains == 1
    assert not draining.ends()
    draining.frontend.open_requests = 0
    assert draining.ends()


def test_the_drain_has_a_deadline() -> None:
    draining = Draining()
    draining.signal()
    draining.now_s += 30
    assert not draining.ends()
    draining.now_s += 0.1
    assert draining.ends()


def test_a_second_signal_ends_it_at_once() -> None:
    draining = Draining()
    draining.signal()
    draining.signal()
    assert draining.ends()
