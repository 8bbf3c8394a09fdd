"""The example programs of the library run as they are, and a client that disconnects frees its slot within one step."""

from __future__ import annotations

import http.client
import importlib.util
import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image

from imagegen.engine import Engine
from tests.unit.tiny_engine import ENDLESS, TIMEOUT_S, Gate, pipelines, tiny_engine, wait_until

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
CHECKPOINT = ROOT / "model_repository" / "diffusion" / "1" / "checkpoint"


def pixels(png: bytes) -> Any:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB"))


def test_the_script_writes_two_images(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, EXAMPLES / "generate.py", CHECKPOINT, "a large red circle", "--steps", "3", "--out", tmp_path],
        check=True,
        timeout=120,
    )
    first, second = (pixels((tmp_path / name).read_bytes()) for name in ("1.png", "2.png"))
    assert first.shape == second.shape == (128, 128, 3)
    assert first.std() > 1
    assert (first != second).any()


def test_the_server_has_less_than_60_lines() -> None:
    assert len((EXAMPLES / "fastapi_server.py").read_text().splitlines()) < 60


@contextmanager
def served(engine: Engine) -> Iterator[int]:
    """The example's server with this engine, in a thread; its port."""
    specification = importlib.util.spec_from_file_location("fastapi_server", EXAMPLES / "fastapi_server.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(module.create_app(engine), log_level="warning"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    remove = made.put_before(pipelines().tasks["text-to-image"].pipeline.unet)
    yield made
    made.open()
    remove()


def post(port: int, **values: Any) -> http.client.HTTPConnection:
    """A connection on which a request is under way."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    connection.request("POST", "/generate", json.dumps(values), {"Content-Type": "application/json"})
    return connection


def response(connection: http.client.HTTPConnection) -> tuple[int, bytes]:
    """Status and body; ends the connection."""
    with closing(connection):
        received = connection.getresponse()
        return received.status, received.read()


def test_requests_get_png_images_and_refusals_with_their_reason() -> None:
    with tiny_engine() as engine, served(engine) as port:
        status, png = response(post(port, prompt="a red cat", seed=5, num_inference_steps=2, size="40x24"))
        assert status == 200
        expected = engine.generate("a red cat", seed=5, num_inference_steps=2, size="40x24").frames[0]
        assert np.abs(pixels(png).astype(int) - expected).max() <= 1
        status, refusal = response(post(port, prompt="a red cat", size="41x24"))
        assert status == 400
        assert 'size: "41x24" is not allowed' in json.loads(refusal)["detail"]


def test_requests_at_the_same_time_share_their_steps(gate: Gate) -> None:
    with tiny_engine() as engine, served(engine) as port:
        gate.close()
        connections = [post(port, prompt="a red cat", num_inference_steps=4) for _ in range(3)]
        wait_until(lambda: engine.active_requests == 3)
        gate.open()
        assert [response(connection)[0] for connection in connections] == [200] * 3
        assert gate.steps <= 4 + 1, "whoever came first may have been alone in one step"


def test_a_client_that_disconnects_frees_its_slot_within_one_step(gate: Gate) -> None:
    """The step that is under way when the server notices is the last one of the request."""
    with tiny_engine() as engine, served(engine) as port:
        connection = post(port, prompt="a red cat", num_inference_steps=ENDLESS)
        wait_until(lambda: gate.steps > 2)
        gate.close()
        assert gate.reached.wait(TIMEOUT_S)
        steps_before = gate.steps
        cancelled = cancel_noticed(engine)
        connection.sock.close()
        assert cancelled.wait(TIMEOUT_S)
        gate.open()
        wait_until(lambda: engine.active_requests == 0)
        assert gate.steps == steps_before


def cancel_noticed(engine: Engine) -> threading.Event:
    """Set when the one request that is being generated is cancelled."""
    noticed = threading.Event()
    [token] = engine.line._cancellation._open
    token.on_cancel(noticed.set)
    return noticed


def test_the_server_runs_as_a_program() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, str(EXAMPLES / "fastapi_server.py"), str(CHECKPOINT), str(port)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        wait_until(lambda: is_listening(port))
        _, png = response(post(port, prompt="a large red circle", num_inference_steps=2))
        assert pixels(png).shape == (128, 128, 3)
    finally:
        process.terminate()
        assert process.wait(TIMEOUT_S) is not None


def is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
