"""A real S3-compatible server as a process of its own on loopback, and a proxy before it that can make it fail."""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}

Fault = str
"""One of: refuse (503 before anything is done), forbid (403), cut (hangs up in the middle of the body), lose (does it,
and hangs up instead of responding), hang (does not respond until the proxy ends)."""


class S3Server:
    """moto's server. Its data is gone with it."""

    def __init__(self, log: Path) -> None:
        with log.open("wb") as file:
            command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
            self._process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        self.port = self._wait_for_port(log)
        self.url = f"http://127.0.0.1:{self.port}"

    def _wait_for_port(self, log: Path) -> int:
        for _ in range(600):
            if address := re.search(r"Running on http://127\.0\.0\.1:(\d+)", log.read_text()):
                return int(address[1])
            if self._process.poll() is not None:
                break
            threading.Event().wait(0.1)
        self.close()
        raise RuntimeError(f"the S3 server does not start: {log.read_text()}")

    def new_bucket(self, name: str) -> None:
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/{name}", method="PUT"), timeout=30):
            pass

    def keys(self, bucket: str) -> list[str]:
        with urllib.request.urlopen(f"{self.url}/{bucket}?list-type=2", timeout=30) as response:
            return re.findall(r"<Key>(.*?)</Key>", response.read().decode())

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


class FaultyProxy:
    """Hands every request on to an S3 server, unless `fault` says what goes wrong with it.

    Attributes:
        fault: for the method and the number, from 0, of the request among those of its method; None for nothing.
        requests: methods of the requests so far.
    """

    def __init__(self, server_port: int) -> None:
        self.fault: Callable[[str, int], Fault | None] = lambda method, number: None
        self.requests: list[str] = []
        self._server_port = server_port
        self._lock = threading.Lock()
        self._ended = threading.Event()

    @contextmanager
    def running(self) -> Iterator[str]:
        """Its URL, while it runs."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                proxy._handle(self)

            do_PUT = do_GET = do_DELETE = do_POST = do_HEAD = handle_any

            def log_message(self, format: str, *args: Any) -> None:
                """Keep the test's output clean."""

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Clients hang up here, as many of these tests want them to."""

        with Server(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            yield f"http://127.0.0.1:{server.server_address[1]}"
            self._ended.set()
            server.shutdown()
            thread.join()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            fault = self.fault(handler.command, self.requests.count(handler.command))
            self.requests.append(handler.command)
        length = int(handler.headers.get("Content-Length", 0))
        if fault == "cut":
            handler.rfile.read(length // 2)
            handler.close_connection = True
            return
        body = handler.rfile.read(length)
        if fault == "hang":
            self._ended.wait()
        elif fault in ("refuse", "forbid"):
            self._respond(handler, 503 if fault == "refuse" else 403, {}, b"")
        else:
            server = http.client.HTTPConnection("127.0.0.1", self._server_port, timeout=30)
            headers = {name: value for name, value in handler.headers.items() if name.lower() != "expect"}
            server.request(handler.command, handler.path, body, headers)
            response = server.getresponse()
            content = response.read()
            server.close()
            if fault is None:
                self._respond(handler, response.status, dict(response.getheaders()), content)
        if fault in ("hang", "lose"):
            handler.close_connection = True

    @staticmethod
    def _respond(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], content: bytes) -> None:
        handler.send_response(status)
        dropped = ("content-length", "connection", "transfer-encoding", "server", "date")
        for name, value in headers.items():
            if name.lower() not in dropped:
                handler.send_header(name, value)
        if status != 204:
            handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(content)
