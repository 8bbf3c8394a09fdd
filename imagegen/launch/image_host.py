"""A real HTTP server on loopback, for image URLs of the demo and the tests."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from imagegen.launch.child_process import HOST


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Write nothing: the output belongs to the program around it."""


@contextmanager
def image_host(folder: Path) -> Iterator[str]:
    """The root URL of a server for the files of `folder`, on a free port, while the block runs."""
    handler = partial(_QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer((HOST, 0), handler) as host:
        thread = threading.Thread(target=host.serve_forever, daemon=True)
        thread.start()
        yield f"http://{HOST}:{host.server_address[1]}"
        host.shutdown()
        thread.join()
