"""What probes and Prometheus read from a supervised server, over HTTP.

    /live     200 while the supervisor itself works, whatever becomes of the server: it is the one who starts it again
    /ready    200 while the server serves and says that it is ready; not while it starts, waits or drains
    /metrics  restarts, and whether it is ready

Triton's own readiness stays true when a model process has died (release 24.10), and its port is closed while it starts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from imagegen.launch.supervisor import State, Supervised, Supervisor

_STUCK_S = 30.0  # a tick may take a few seconds: it asks the server, and ends it


@contextmanager
def status_endpoint(
    supervisor: Supervisor,
    server: Supervised,
    address: str,
    port: int,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[int]:
    """Respond in the background; yields the port.

    Args:
        supervisor: whose state is reported.
        server: what it supervises.
        address: to listen on.
        port: 0 picks a free one.
        clock: the supervisor's.

    Raises:
        OSError: the port is not available.
    """
    with ThreadingHTTPServer((address, port), partial(_Handler, supervisor, server, clock)) as http:
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, name="status", daemon=True).start()
        try:
            yield http.server_address[1]
        finally:
            http.shutdown()


class _Handler(BaseHTTPRequestHandler):
    timeout = 10  # seconds that a client may take

    def __init__(self, supervisor: Supervisor, server: Supervised, clock: Callable[[], float], *rest: Any) -> None:
        self._supervisor = supervisor
        self._supervised = server
        self._clock = clock
        super().__init__(*rest)

    def do_GET(self) -> None:
        supervisor = self._supervisor
        if self.path == "/live":
            self._respond(self._clock() - supervisor.ticked_s < _STUCK_S, supervisor.state.value)
        elif self.path == "/ready":
            self._respond(self._is_ready(), supervisor.state.value)
        elif self.path == "/metrics":
            self._respond(
                True,
                "# HELP imagegen_server_restarts_total Times the server was started again after a failure\n"
                "# TYPE imagegen_server_restarts_total counter\n"
                f"imagegen_server_restarts_total {supervisor.restarts}\n"
                "# HELP imagegen_server_ready Whether the server serves and is ready\n"
                "# TYPE imagegen_server_ready gauge\n"
                f"imagegen_server_ready {int(self._is_ready())}",
            )
        else:
            self.send_error(404)

    def _is_ready(self) -> bool:
        return self._supervisor.state is State.SERVING and self._supervised.is_ready()

    def _respond(self, fine: bool, text: str) -> None:
        body = f"{text}\n".encode()
        self.send_response(200 if fine else 503)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: probes come every few seconds."""
