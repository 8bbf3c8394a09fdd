"""A real HTTP server on loopback in the place of one with OpenAI's images API, which responds as a test tells it to."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image

Respond = Callable[[str, bytes], tuple[int, bytes]]
"""From path and body to status and body."""


@contextmanager
def openai_stand_in(respond: Respond) -> Iterator[str]:
    """Run it; its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            status, body = respond(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def number(body: bytes, name: str) -> int:
    """A field of a JSON object or of a form."""
    found = re.search(rb'"%s"(?:: |\r\n\r\n)(\d+)' % name.encode(), body)
    assert found is not None, name
    return int(found[1])


def images(body: bytes, size: tuple[int, int]) -> tuple[int, bytes]:
    """A valid response, whose images have a size of the test's choice."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize(size).save(file, "PNG")
    image = base64.b64encode(file.getvalue()).decode()
    seed = number(body, "seed")
    data = [{"b64_json": image, "seed": seed + index} for index in range(number(body, "n"))]
    return 200, json.dumps({"data": data}).encode()
