"""`python -m imagegen.openai`: the frontend in the foreground, until Ctrl-C or TERM.

TERM: new requests and /health/ready get 503, those under way have `--drain-timeout-s` to finish; status 0.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

import uvicorn

from imagegen.openai.app import Frontend
from imagegen.openai.command_line import parse_command_line
from imagegen.openai.log import start_logging


class DrainingServer(uvicorn.Server):
    """Goes on listening while the frontend is drained, so that new requests get a status that means "elsewhere".

    A second signal ends it at once.

    Args:
        config: uvicorn's.
        frontend: is told to drain.
        drain_timeout_s: how long requests under way may take to finish.
        clock: seconds.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        frontend: Frontend,
        drain_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(config)
        self._frontend = frontend
        self._drain_timeout_s = drain_timeout_s
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
        return await super().on_tick(counter)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; the exit status."""
    try:
        settings = parse_command_line(arguments)
        start_logging()
        frontend = Frontend(settings)
    except (OSError, ValueError) as error:
        print(f"imagegen.openai: {error}", file=sys.stderr)
        return 1
    config = uvicorn.Config(
        frontend.app,
        host=settings.host,
        port=settings.port,
        http="httptools",
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,  # by then they have had their time
        timeout_keep_alive=75,
    )
    # uvicorn passes the signal on when it is done; by then there is nothing left to end.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda *_: None)
    server = DrainingServer(config, frontend, settings.drain_timeout_s)
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
