"""A real HTTP server on loopback that responds as a test says, also badly."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Respond = Callable[[BaseHTTPRequestHandler], None]
"""Writes the response to one request."""

_LONGEST_WAIT_S = 60


@dataclass
class ImageServer:
    """What the server responds by path, and what it saw.

    Attributes:
        url: its root, without a trailing slash.
        port: its port.
        responses: by path; the response to any other path is 404.
        requests: path and headers of each request, in order of arrival.
        targets: what the line of each request names, as it came.
        connections: number of connections accepted.
        stopped: set when the test is over, so that endless responses end.
    """

    url: str = ""
    port: int = 0
    responses: dict[str, Respond] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    connections: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)
    _arrival: threading.Condition = field(default_factory=threading.Condition)

    def serve_together(self, path: str, body: bytes, count: int) -> str:
        """Respond to `path` with `body` as soon as `count` requests for it are there, and to none before; its URL."""
        together = threading.Barrier(count, timeout=30)
        url = self.serve(path, body)
        respond = self.responses[path]

        def respond_together(handler: BaseHTTPRequestHandler) -> None:
            together.wait()
            respond(handler)

        self.responses[path] = respond_together
        return url

    def serve(self, path: str, body: bytes, status: int = 200, **headers: str) -> str:
        """Respond to `path` with `body`; the URL to fetch it from. `_` in a header's name stands for `-`."""

        def respond(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in {"Content_Length": str(len(body)), **headers}.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(body)

        self.responses[path] = respond
        return self.url + path

    def redirect(self, path: str, location: str, status: int = 302) -> str:
        """Respond to `path` with a redirect; the URL to fetch it from."""
        return self.serve(path, b"", status, Location=location)

    def raw(self, path: str, *parts: bytes, then_repeat: bytes = b"", every_s: float = 0.0) -> str:
        """Respond to `path` with bytes as they are, then `then_repeat` without an end, then hang up."""

        def respond(handler: BaseHTTPRequestHandler) -> None:
            handler.close_connection = True
            for part in parts:
                handler.wfile.write(part)
            while then_repeat and not self.stopped.wait(every_s):
                handler.wfile.write(then_repeat)

        self.responses[path] = respond
        return self.url + path

    def in_turn(self, path: str, *responses: bytes) -> str:
        """Respond to one request after another with these bytes, and hang up each time; the URL to fetch from."""
        left = list(responses)

        def respond(handler: BaseHTTPRequestHandler) -> None:
            handler.close_connection = True
            handler.wfile.write(left.pop(0))

        self.responses[path] = respond
        return self.url + path

    def hold(self, path: str, body: bytes) -> tuple[str, threading.Event]:
        """Respond to `path`, whatever its query, with `body` once the event is set; the URL to fetch it from."""
        released = threading.Event()
        url = self.serve(path, body)
        respond = self.responses[path]

        def respond_later(handler: BaseHTTPRequestHandler) -> None:
            released.wait(_LONGEST_WAIT_S)
            respond(handler)

        self.responses[path] = respond_later
        return url, released

    def count(self, path: str) -> int:
        """How often `path` was requested."""
        return sum(requested == path for requested, _ in self.requests)

    def wait_for_requests(self, count: int) -> None:
        """Return when so many requests have arrived in all.

        Raises:
            TimeoutError: they do not.
        """
        with self._arrival:
            if not self._arrival.wait_for(lambda: len(self.requests) >= count, _LONGEST_WAIT_S):
                raise TimeoutError(f"{len(self.requests)} of {count} requests have arrived")

    def respond_to(self, handler: BaseHTTPRequestHandler) -> None:
        """Note a request and respond to it."""
        path = handler.path.split("?")[0]
        with self._arrival:
            self.requests.append((path, {name.lower(): value for name, value in handler.headers.items()}))
            self.targets.append(handler.requestline.split(" ")[1])
            self._arrival.notify_all()
        respond = self.responses.get(path)
        if respond is None:
            handler.send_error(404)
            return
        try:
            respond(handler)
        except OSError:  # the client hung up, as many of these tests want it to
            handler.close_connection = True


@contextmanager
def image_server(address: str = "127.0.0.1", port: int = 0) -> Iterator[ImageServer]:
    """Run a server; port 0 picks a free one."""
    state = ImageServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 0

        def setup(self) -> None:
            state.connections += 1
            super().setup()

        def do_GET(self) -> None:
            state.respond_to(self)

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test's output clean."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # or connections opened at once wait for a retry of their SYN
        block_on_close = False

    http_server = Server((address, port), Handler)
    state.port = http_server.server_address[1]
    state.url = f"http://{address}:{state.port}"
    thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        state.stopped.set()
        http_server.shutdown()
        thread.join()
        http_server.server_close()
