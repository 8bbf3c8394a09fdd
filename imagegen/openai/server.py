"""The HTTP server beneath the application: uvicorn, how it is drained, and what clients that stall meet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from imagegen.openai.app import Frontend
from imagegen.openai.command_line import CommandLine
from imagegen.openai.http_protocol import HttpProtocol


class DrainingServer(uvicorn.Server):
    """Goes on listening while the frontend is drained, so that new requests get a status that means "elsewhere".

    A second signal ends it at once.

    Args:
        config: uvicorn's.
        frontend: is told to drain.
        drain_timeout_s: how long requests under way may take to finish.
        stall_timeout_s: how long a client may leave a request unsent or a response unread.
        clock: seconds.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        frontend: Frontend,
        drain_timeout_s: float,
        stall_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(config)
        self._frontend = frontend
        self._drain_timeout_s = drain_timeout_s
        self._stall_timeout_s = stall_timeout_s
        self._clock = clock
        self._drain_deadline_s: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain, or end at once when it has begun."""
        if self._drain_deadline_s is not None:
            super().handle_exit(sig, frame)
        self._frontend.drain()
        self._drain_deadline_s = self._clock() + self._drain_timeout_s

    async def on_tick(self, counter: int) -> bool:
        """Whether to end: called by uvicorn ten times a second."""
        if self._drain_deadline_s is not None:
            self.should_exit |= self._frontend.open_requests == 0 or self._clock() > self._drain_deadline_s
        now_s = asyncio.get_running_loop().time()
        for connection in list(self.server_state.connections):
            assert isinstance(connection, HttpProtocol)
            connection.end_if_stalled(now_s, self._stall_timeout_s)
        return await super().on_tick(counter)


def make_server(settings: CommandLine, frontend: Frontend) -> DrainingServer:
    """The server of `frontend` as `settings` have it, not started."""
    config = uvicorn.Config(
        frontend.app,
        host=settings.host,
        port=settings.port,
        http=HttpProtocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,  # by then they have had their time
        timeout_keep_alive=75,
    )
    return DrainingServer(config, frontend, settings.drain_timeout_s, settings.body_timeout_s)
