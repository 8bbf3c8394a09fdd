"""An administrator puts a real server to sleep and wakes it, through Triton's model and through the frontend."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest import mock

import psutil
import pytest

from imagegen.launch.embedded_frontend import EmbeddedFrontend
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY, other_checkpoint
from imagegen.triton.admin_key import ADMIN_KEY_VARIABLE
from imagegen_client import DeadlineExceeded, ImageClient, InvalidArgument, Unavailable
from tests.service.conftest import PATIENT
from tests.service.server_metrics import wait_until

KEY = "the administrator's"
SMALL: dict[str, Any] = {"size": "64x64", "num_inference_steps": 2, "seed": 1}
Served = tuple[EmbeddedServer, EmbeddedFrontend]


@pytest.fixture(scope="module")
def served(random_checkpoint: str) -> Iterator[Served]:
    parameters = {**PATIENT, **other_checkpoint(random_checkpoint), "diffusion.warmup_sizes": "none"}
    with (
        mock.patch.dict("os.environ", {ADMIN_KEY_VARIABLE: KEY}),
        EmbeddedServer(MODEL_REPOSITORY, parameters=parameters) as server,
        EmbeddedFrontend(server.grpc_url) as frontend,
    ):
        yield server, frontend


@pytest.fixture
def client(served: Served) -> Iterator[ImageClient]:
    with ImageClient(served[0].grpc_url) as made:
        yield made
        made.administrate("wake", KEY)


def ask(served: Served, method: str, path: str, body: Any = None, key: str = KEY) -> tuple[int, Any, Any]:
    """Status, headers and JSON of a request to the frontend."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(served[1].url + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, response.headers, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, json.loads(error.read())


def levels(state: Any) -> list[int]:
    return [instance["sleep_level"] for instance in state["instances"]]


def engine_pids(server: EmbeddedServer) -> list[int]:
    children = psutil.Process(server.pid).children(recursive=True)
    return [child.pid for child in children if "imagegen.engine.worker" in child.cmdline()]


@contextmanager
def waits(client: ImageClient) -> Iterator[Any]:
    """A request with a deadline, under way."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(client.generate, "a red cat", timeout_ms=60_000, **SMALL)


def test_level_2_ends_the_engine_and_a_wake_serves_who_waited(served: Served, client: ImageClient) -> None:
    server, _ = served
    before = client.generate("a red cat", **SMALL)
    assert levels(client.administrate("status", KEY)) == [0]
    assert len(engine_pids(server)) == 1
    assert levels(client.administrate("sleep", KEY, level=2)) == [2]
    assert engine_pids(server) == []
    with pytest.raises(Unavailable, match="the model is asleep; an administrator can wake it"):
        client.generate("a red cat", **SMALL)
    with waits(client) as waiting:
        with pytest.raises(DeadlineExceeded):  # though another one, which has longer to wait, came before
            client.generate("a red cat", timeout_ms=300, **SMALL)
        assert not waiting.done()
        assert levels(client.administrate("wake", KEY)) == [0]
        assert waiting.result(60).images == before.images


def test_the_frontend_says_that_it_sleeps_and_is_ready_again(served: Served, client: ImageClient) -> None:
    wait_until(lambda: ask(served, "GET", "/health/ready")[0] == 200)
    status, _, state = ask(served, "POST", "/v1/admin/sleep", {"level": 1})
    assert (status, levels(state)) == (200, [1])
    status, headers, refused = ask(served, "POST", "/v1/images/generations", {"prompt": "a red cat", "size": "64x64"})
    assert (status, headers["retry-after"]) == (503, "2")
    assert refused["error"]["message"] == "the model is asleep; an administrator can wake it"
    wait_until(lambda: ask(served, "GET", "/health/ready")[0] == 503)
    assert "asleep" in ask(served, "GET", "/health/ready")[2]["error"]["message"]
    assert levels(ask(served, "GET", "/v1/admin/state")[2]) == [1]
    with urllib.request.urlopen(served[0].metrics_url, timeout=10) as response:
        assert "imagegen_diffusion_sleep_level{" in response.read().decode()
    assert levels(ask(served, "POST", "/v1/admin/wake")[2]) == [0]
    wait_until(lambda: ask(served, "GET", "/health/ready")[0] == 200)
    body = {"prompt": "a red cat", "size": "64x64", "num_inference_steps": 2}
    assert ask(served, "POST", "/v1/images/generations", body)[0] == 200


def test_who_has_not_the_key_or_asks_for_what_there_is_not_is_refused(served: Served, client: ImageClient) -> None:
    with pytest.raises(InvalidArgument, match="admin_key"):
        client.administrate("sleep", "another")
    with pytest.raises(InvalidArgument, match="level: 3 is not one of 1, 2"):
        client.administrate("sleep", KEY, level=3)
    for method, path, body in (("POST", "sleep", {}), ("POST", "wake", None), ("GET", "state", None)):
        status, _, refused = ask(served, method, f"/v1/admin/{path}", body, key="another")
        assert (status, refused["error"]["code"]) == (401, "invalid_api_key")
    status, _, refused = ask(served, "POST", "/v1/admin/sleep", {"level": 3})
    assert (status, refused["error"]["param"]) == (400, "level")
    assert levels(client.administrate("status", KEY)) == [0]
