"""A peer's answer becomes an image, and one that is none becomes an error of the client package."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from imagegen_client import GenerateResult
from imagegen_client.errors import DeadlineExceeded, InternalError, ServerUnreachable
from perf.peers.server import PEERS, PeerClient

IMAGE = b"an image"


@contextmanager
def stand_in(status: int, answer: bytes, delay_s: float = 0.0) -> Iterator[tuple[str, list[Any]]]:
    """A real HTTP server on loopback; its URL and the JSON that it was sent."""
    asked: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            time.sleep(delay_s)
            with contextlib.suppress(OSError):  # who asked may have left
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()
        thread.join()


def draw(url: str, name: str, timeout_s: float = 30) -> GenerateResult:
    async def ask() -> GenerateResult:
        async with PeerClient(url, PEERS[name]) as client:
            return await client.generate(
                "a star", num_inference_steps=4, guidance_scale=7.5, seed=3, timeout_s=timeout_s
            )

    return asyncio.run(ask())


def test_a_file_is_the_image() -> None:
    with stand_in(200, IMAGE) as (url, asked):
        result = draw(url, "fastapi")
    assert (result.images, result.seeds) == ((IMAGE,), (3,))
    assert asked == [{"prompt": "a star", "seed": 3, "num_inference_steps": 4, "guidance_scale": 7.5}]


def test_bentoml_gets_and_gives_lists() -> None:
    with stand_in(200, json.dumps([base64.b64encode(IMAGE).decode()]).encode()) as (url, asked):
        assert draw(url, "bentoml").images == (IMAGE,)
    assert len(asked[0]["requests"]) == 1


def test_what_is_no_image_is_an_error() -> None:
    with stand_in(503, b"overloaded") as (url, _), pytest.raises(InternalError, match="503"):
        draw(url, "fastapi")
    with stand_in(200, b"[]") as (url, _), pytest.raises(ServerUnreachable):
        draw(url, "bentoml")
    with pytest.raises(ServerUnreachable):
        draw("http://127.0.0.1:9", "fastapi")


def test_an_answer_that_is_late_is_an_error() -> None:
    with stand_in(200, IMAGE, delay_s=1.0) as (url, _), pytest.raises(DeadlineExceeded):
        draw(url, "fastapi", timeout_s=0.2)
