"""A baseline's response becomes an image, and one that is none becomes an error of the client package."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from imagegen_client import DeadlineExceeded, GenerateResult, InternalError, ServerUnreachable
from perf.baselines.client import BaselineClient
from perf.baselines.server import BASELINES

IMAGE = b"an image"


@contextmanager
def stand_in(status: int, body: bytes, late: threading.Event | None = None) -> Iterator[tuple[str, list[Any]]]:
    """A real HTTP server on loopback; its URL and the JSON that it was sent. It responds once `late` is set."""
    sent: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if late is not None:
                late.wait()
            with contextlib.suppress(OSError):  # the client may have left
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", sent
        finally:
            if late is not None:
                late.set()
            server.shutdown()
            thread.join()


def generate(url: str, name: str, timeout_s: float = 30, **more: Any) -> GenerateResult:
    values = {"prompt": "a star", "num_inference_steps": 4, "guidance_scale": 7.5, "seed": 3, "size": "64x64", "n": 1}
    values |= more

    async def one() -> GenerateResult:
        async with BaselineClient(url, BASELINES[name]) as client:
            return await client.generate(**values, timeout_s=timeout_s)

    return asyncio.run(one())


def test_a_file_is_the_image() -> None:
    with stand_in(200, IMAGE) as (url, sent):
        result = generate(url, "fastapi")
    assert (result.images, result.seeds) == ((IMAGE,), (3,))
    assert sent == [{"prompt": "a star", "num_inference_steps": 4, "guidance_scale": 7.5, "seed": 3, "size": "64x64"}]


def test_a_control_image_is_sent_as_base64() -> None:
    with stand_in(200, IMAGE) as (url, sent):
        generate(url, "litserve", control_image=b"edges")
    assert sent[0]["control_image"] == base64.b64encode(b"edges").decode()


def test_bentoml_gets_and_gives_lists() -> None:
    with stand_in(200, json.dumps([base64.b64encode(IMAGE).decode()]).encode()) as (url, sent):
        assert generate(url, "bentoml").images == (IMAGE,)
    assert len(sent[0]["requests"]) == 1


def test_what_is_no_image_is_an_error() -> None:
    with stand_in(503, b"overloaded") as (url, _), pytest.raises(InternalError, match="503"):
        generate(url, "fastapi")
    with stand_in(200, b"[]") as (url, _), pytest.raises(ServerUnreachable):
        generate(url, "bentoml")
    with pytest.raises(ServerUnreachable):
        generate("http://127.0.0.1:9", "fastapi")


def test_a_response_that_is_late_is_an_error() -> None:
    with stand_in(200, IMAGE, late=threading.Event()) as (url, _), pytest.raises(DeadlineExceeded):
        generate(url, "fastapi", timeout_s=0.2)
