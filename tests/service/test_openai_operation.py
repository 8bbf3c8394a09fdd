"""Running the frontend: keys, limits, ids, logs, health, a slow body, CORS and the drain."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imagegen.launch.child_process import ServerError
from imagegen.launch.embedded_frontend import EmbeddedFrontend
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.ports import free_port
from tests.service.conftest import OpenAIServer
from tests.service.http_pieces import connect, head, json_request, read_response
from tests.service.server_metrics import active, wait_until

GENERATIONS = "/v1/images/generations"
QUICK: dict[str, Any] = {"prompt": "a secret wish", "num_inference_steps": 1}
LONG: dict[str, Any] = {"prompt": "x", "num_inference_steps": 100, "size": "256x256"}
KEY, OTHER_KEY = "sk-alice-1", "sk-bob-2"


@pytest.fixture(scope="module")
def guarded(narrow: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedFrontend]:
    """With keys, a limit for each of them, small bodies, short timeouts and one foreign page."""
    keys = tmp_path_factory.mktemp("keys") / "keys.txt"
    keys.write_text(f"# who is let in\nalice:{KEY}\n\n")
    options: dict[str, str | list[str]] = {
        "keys-file": str(keys),
        "max-concurrent-per-key": "1",
        "max-body-bytes": "100000",
        "body-timeout-s": "1",
        "cors-origins": ["https://page.example"],
    }
    environment = {"IMAGEGEN_API_KEYS": f"bob:{OTHER_KEY}, sk-carol-3"}
    with EmbeddedFrontend(narrow.grpc_url, options=options, environment=environment) as frontend:
        yield frontend


def post(url: str, fields: dict[str, Any], key: str | None = None, **headers: str) -> tuple[int, Any, dict[str, Any]]:
    """Status, headers and JSON of the response to a generation."""
    sent = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    if key is not None:
        sent["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url + GENERATIONS, json.dumps(fields).encode(), sent)
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, response.headers, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, json.load(error)


def get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.parametrize("key", [None, "", "sk-alice", "sk-alice-11", "alice", "ünicode", KEY.upper()])
def test_without_a_known_key_nothing_is_generated(guarded: EmbeddedFrontend, key: str | None) -> None:
    key = key.encode().decode("latin-1") if key else key
    status, headers, body = post(guarded.url, QUICK, key)
    assert (status, body["error"]["code"], headers["WWW-Authenticate"]) == (401, "invalid_api_key", "Bearer")


@pytest.mark.parametrize("key", [KEY, OTHER_KEY, "sk-carol-3"])
def test_keys_of_the_file_and_the_environment_are_let_in(guarded: EmbeddedFrontend, key: str) -> None:
    assert post(guarded.url, QUICK, key)[0] == 200


def test_health_metrics_and_the_page_need_no_key(guarded: EmbeddedFrontend) -> None:
    assert {get(guarded.url + path)[0] for path in ("/health/live", "/health/ready", "/metrics", "/")} == {200}
    assert get(guarded.url + "/v1/models")[0] == 401


def test_the_requests_of_a_key_are_limited(guarded: EmbeddedFrontend, narrow: EmbeddedServer) -> None:
    wait_until(lambda: active(narrow) == 0)
    with connect(guarded.url) as streaming:
        streaming.sendall(_with_key(json_request(GENERATIONS, LONG | {"stream": True}), KEY))
        assert read_response(streaming)[0] == 200
        status, headers, body = post(guarded.url, QUICK, KEY)
        assert (status, body["error"]["code"], headers["Retry-After"]) == (429, "rate_limit_exceeded", "2")
    wait_until(lambda: post(guarded.url, QUICK, KEY)[0] == 200)


def test_a_full_queue_of_triton_is_429(narrow: EmbeddedServer) -> None:
    """One is generated, one waits in `execute`, three in Triton's queue; our own probe may be one of them."""
    ended: list[tuple[int, Any]] = []
    with EmbeddedFrontend(narrow.grpc_url) as frontend, connect(frontend.url) as streaming:
        streaming.sendall(json_request(GENERATIONS, LONG | {"stream": True}))
        assert read_response(streaming)[0] == 200
        threads = [threading.Thread(target=lambda: ended.append(post(frontend.url, QUICK)[:2])) for _ in range(10)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(ended) >= 3)
        streaming.close()
        for thread in threads:
            thread.join()
    assert {status for status, _ in ended} == {200, 429}
    assert all(headers["Retry-After"] == "2" for status, headers in ended if status == 429)
    wait_until(lambda: active(narrow) == 0)


def test_a_body_over_the_limit_is_refused_while_it_is_read(guarded: EmbeddedFrontend) -> None:
    with connect(guarded.url) as connection:
        lines = "Transfer-Encoding: chunked", f"Authorization: Bearer {KEY}"
        request = head(GENERATIONS, "application/json", 0, *lines).replace(b"Content-Length: 0\r\n", b"")
        connection.sendall(request + (b"%x\r\n" % 50_000 + b" " * 50_000 + b"\r\n") * 3)
        assert read_response(connection)[0] == 413


def test_a_body_that_does_not_come_is_not_waited_for(guarded: EmbeddedFrontend) -> None:
    with connect(guarded.url) as connection:
        connection.sendall(head(GENERATIONS, "application/json", 1000, f"Authorization: Bearer {KEY}") + b'{"prompt"')
        status, headers, _ = read_response(connection)
        assert (status, headers["connection"]) == (408, "close")


def test_an_id_goes_in_and_out_and_a_bad_one_is_replaced(openai_server: OpenAIServer) -> None:
    assert post(openai_server.url, QUICK, X_Request_Id="order-66.a_b")[1]["x-request-id"] == "order-66.a_b"
    replaced = post(openai_server.url, QUICK, X_Request_Id="no spaces!")[1]["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{32}", replaced)
    url = post(openai_server.url, QUICK | {"response_format": "url"}, X_Request_Id="order-67")[2]["data"][0]["url"]
    assert "/generations/order-67/" in url  # Triton knew it by the same id


def test_the_log_has_a_line_of_json_for_each_request_and_no_prompts(openai_server: OpenAIServer) -> None:
    post(openai_server.url, QUICK | {"n": 2**70}, X_Request_Id="logged-0")  # more than JSON's writer takes
    post(openai_server.url, QUICK, X_Request_Id="logged-1")
    wait_until(lambda: "logged-1" in openai_server.frontend.log_file.read_text())  # it comes after the response
    text = openai_server.frontend.log_file.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["status"] for line in lines if line.get("request_id") == "logged-0"] == [400]
    (line,) = (line for line in lines if line.get("request_id") == "logged-1")
    assert (line["status"], line["path"], line["key"], line["level"]) == (200, GENERATIONS, "anonymous", "info")
    assert line["milliseconds"] > 0
    assert "secret wish" not in text


def test_prompts_are_logged_where_that_is_wanted(openai_server: OpenAIServer) -> None:
    with EmbeddedFrontend(openai_server.triton.grpc_url, options={"log-prompts": []}) as frontend:
        post(frontend.url, QUICK)
        wait_until(lambda: "secret wish" in frontend.log_file.read_text())


def test_other_pages_may_not_call_unless_told(openai_server: OpenAIServer, guarded: EmbeddedFrontend) -> None:
    origin = {"Origin": "https://page.example"}
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-stainless-lang,authorization"}
    before = urllib.request.Request(guarded.url + GENERATIONS, method="OPTIONS", headers=origin | asks)
    with urllib.request.urlopen(before, timeout=30) as response:  # what OpenAI's client for browsers asks first
        assert "x-stainless-lang" in response.headers["Access-Control-Allow-Headers"]
    assert post(openai_server.url, QUICK, **origin)[1]["Access-Control-Allow-Origin"] is None
    assert post(guarded.url, QUICK, KEY, **origin)[1]["Access-Control-Allow-Origin"] == "https://page.example"
    assert post(guarded.url, QUICK, KEY, Origin="https://evil.example")[1]["Access-Control-Allow-Origin"] is None


def test_not_ready_without_a_server_that_generates() -> None:
    url = f"127.0.0.1:{free_port('x', 0)}"
    with pytest.raises(ServerError, match="not ready"), EmbeddedFrontend(url, ready_timeout_s=3) as _:
        pass


def test_without_triton_it_is_503_and_live(tmp_path: Path) -> None:
    port = free_port("OpenAI", 0)
    command = [sys.executable, "-m", "imagegen.openai", "--port", str(port), "--triton-url", "127.0.0.1:1"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _live(url))
        status, headers, body = post(url, QUICK)
        assert (status, headers["Retry-After"], body["error"]["code"]) == (503, "2", "unavailable")
        assert get(url + "/health/ready")[0] == 503
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_a_drain_finishes_what_was_begun_and_takes_nothing_new(openai_server: OpenAIServer) -> None:
    frontend = EmbeddedFrontend(openai_server.triton.grpc_url)
    with frontend, connect(frontend.url) as connection:
        connection.sendall(json_request(GENERATIONS, {"prompt": "x", "num_inference_steps": 40, "size": "256x256"}))
        wait_until(lambda: active(openai_server.triton) >= 1)
        os.kill(frontend.pid, signal.SIGTERM)
        wait_until(lambda: get(frontend.url + "/health/ready")[0] == 503)
        assert post(frontend.url, QUICK)[0] == 503
        assert read_response(connection)[0] == 200
        wait_until(lambda: frontend.poll() is not None)
        assert frontend.poll() == 0


def test_a_drain_is_bounded(openai_server: OpenAIServer) -> None:
    triton = openai_server.triton
    frontend = EmbeddedFrontend(triton.grpc_url, drain_timeout_s=1)
    with frontend, connect(frontend.url) as connection:
        connection.sendall(json_request(GENERATIONS, LONG | {"n": 10, "size": "512x512"}))
        with connect(frontend.url) as stream:
            stream.sendall(json_request(GENERATIONS, LONG | {"size": "512x512", "stream": True}))
            assert read_response(stream)[0] == 200
            wait_until(lambda: active(triton) >= 1)
            assert frontend.stop() == 0
            assert read_response(connection)[0] == 503
            assert b"event: error" in stream.recv(65536)
    wait_until(lambda: active(triton) == 0)


def _with_key(request: bytes, key: str) -> bytes:
    return request.replace(b"Host:", f"Authorization: Bearer {key}\r\nHost:".encode())


def _live(url: str) -> bool:
    try:
        return get(url + "/health/live")[0] == 200
    except OSError:
        return False
