"""A client that disconnects frees its rows in the batch within a step, whether it streamed or not."""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest

from tests.service.conftest import OpenAIServer
from tests.service.http_pieces import connect, form_request, json_request, reset
from tests.service.server_metrics import active, let_metrics_arrive, steps, wait_until

LONG: dict[str, Any] = {"prompt": "x", "num_inference_steps": 50, "size": "256x256"}  # about 5 s


def request_of(kind: str, scene_png: bytes) -> bytes:
    if kind == "edit":
        parts = [("image", scene_png), *((name, str(value).encode()) for name, value in LONG.items())]
        return form_request("/v1/images/edits", parts)
    more = {"stream": True, "partial_images": 1} if kind == "stream" else {}
    return json_request("/v1/images/generations", LONG | more)


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("kind", ["stream", "generation", "edit"])
def test_a_client_that_disconnects_stops_its_request(
    openai_server: OpenAIServer, kind: str, how: str, scene_png: bytes
) -> None:
    triton = openai_server.triton
    wait_until(lambda: active(triton) == 0)
    let_metrics_arrive(triton)
    before = steps(triton)
    connection = connect(openai_server.url)
    connection.sendall(request_of(kind, scene_png))
    wait_until(lambda: active(triton) == 1 and steps(triton) > before)
    if how == "reset":
        reset(connection)
    else:
        connection.close()
    wait_until(lambda: active(triton) == 0)
    other_steps = let_metrics_arrive(triton)
    done = steps(triton)
    assert done - other_steps - before < LONG["num_inference_steps"]
    other_steps = let_metrics_arrive(triton)
    assert steps(triton) == done + other_steps  # none of them is the request's
    wait_until(lambda: _open_requests(openai_server.url) == 1)  # that of the metrics itself


@pytest.mark.parametrize("kind", ["generation", "stream"])
def test_a_client_that_disconnects_is_logged_as_499(openai_server: OpenAIServer, kind: str, scene_png: bytes) -> None:
    wait_until(lambda: active(openai_server.triton) == 0)
    connection = connect(openai_server.url)
    connection.sendall(request_of(kind, scene_png).replace(b"Host:", f"X-Request-Id: left-{kind}\r\nHost:".encode()))
    wait_until(lambda: active(openai_server.triton) == 1)
    reset(connection)
    log = openai_server.frontend.log_file
    wait_until(lambda: f'"request_id":"left-{kind}"' in log.read_text())
    (line,) = (line for line in log.read_text().splitlines() if f"left-{kind}" in line)
    assert '"status":499' in line
    wait_until(lambda: active(openai_server.triton) == 0)


def _open_requests(url: str) -> float:
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    (line,) = (line for line in lines if line.startswith("imagegen_frontend_open_requests "))
    return float(line.split()[1])
