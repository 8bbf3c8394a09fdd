"""A real HTTP server on loopback that answers as a test tells it to, also badly."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class ImageServer:
    """What the server answers by path, and what it saw.

    Attributes:
        url: its root, without a trailing slash.
        port: its port.
        answers: by path; a path that is missing is answered with 404.
        requests: path and headers of each request, in order of arrival.
        connections: number of connections accepted.
        stopped: set when the test is over, so that endless answers end.
    """

    url: str = ""
    port: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    connections: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def serve(self, path: str, body: bytes, status: int = 200, **headers: str) -> str:
        """Answer `path` with `body`; the URL to fetch it from. `_` in a header's name stands for `-`."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in {"Content_Length": str(len(body)), **headers}.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(body)

        self.answers[path] = answer
        return self.url + path

    def redirect(self, path: str, location: str, status: int = 302) -> str:
        """Answer `path` with a redirect; the URL to fetch it from."""
        return self.serve(path, b"", status, Location=location)

    def raw(self, path: str, *parts: bytes, then_repeat: bytes = b"", every_s: float = 0.0) -> str:
        """Answer `path` with bytes as they are, then `then_repeat` without an end, then hang up."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.close_connection = True
            for part in parts:
                handler.wfile.write(part)
            while then_repeat and not self.stopped.wait(every_s):
                handler.wfile.write(then_repeat)

        self.answers[path] = answer
        return self.url + path

    def in_turn(self, path: str, *answers: bytes) -> str:
        """Answer one request after another with these bytes, and hang up each time; the URL to fetch them from."""
        left = list(answers)

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.close_connection = True
            handler.wfile.write(left.pop(0))

        self.answers[path] = answer
        return self.url + path

    def hold(self, path: str, body: bytes) -> tuple[str, threading.Event]:
        """Answer `path`, whatever its query, with `body` once the event is set; the URL to fetch it from."""
        released = threading.Event()

        def answer(handler: BaseHTTPRequestHandler) -> None:
            released.wait(60)
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)

        self.answers[path] = answer
        return self.url + path, released

    def count(self, path: str) -> int:
        """How often `path` was asked for."""
        return sum(asked == path for asked, _ in self.requests)


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
            path = self.path.split("?")[0]
            state.requests.append((path, {name.lower(): value for name, value in self.headers.items()}))
            answer = state.answers.get(path)
            if answer is None:
                self.send_error(404)
                return
            try:
                answer(self)
            except OSError:  # the client hung up, as many of these tests want it to
                self.close_connection = True

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
