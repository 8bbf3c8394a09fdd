"""`imagegen serve`: it ends in order, watches the server from its first moment, and says why it cannot start."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from imagegen.launch.ports import free_ports
from imagegen_client import HttpImageClient, ImageClient, Unavailable
from tests.service.server_metrics import wait_long_until
from tests.service.test_openai_operation import post

ENDS_WITHIN_S = 60  # a fraction of a second to a few; but not while others take all of the machine
COMMAND = [sys.executable, "-m", "imagegen.launch.serve"]


def _as_in_a_background_job() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what a shell without job control does


@contextmanager
def _run(*options: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*COMMAND, *options],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_as_in_a_background_job,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
    for segment in _segments(process):  # a launcher that was killed outright could not
        segment.unlink(missing_ok=True)


def _endpoints(process: subprocess.Popen[str]) -> dict[str, str]:
    """What it prints until it is ready, as `{name: address}`."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        if line.startswith("Ready"):
            return dict(line.split()[:2] for line in lines)
        lines.append(line)
    raise AssertionError(process.stderr.read() if process.stderr else "")


@pytest.fixture
def serving(tmp_path: Path, random_checkpoint: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """A server on free ports without a frontend, ready, with the endpoints it printed."""
    options = [f"--{name}-port=0" for name in ("http", "grpc", "metrics", "openai")]
    options += [f"--model={random_checkpoint}", "--set=diffusion.warmup_sizes=none"]
    with _run(*options, cwd=tmp_path) as process:
        yield process, _endpoints(process)


def _family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def _segments(process: subprocess.Popen[str]) -> list[Path]:
    return list(Path("/dev/shm").glob(f"imagegen_{process.pid}_*"))


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    except OSError:
        return False


def _generates(metrics_url: str) -> bool:
    with urllib.request.urlopen(metrics_url, timeout=10) as response:
        return re.search(r"imagegen_diffusion_active_requests\{.*\} 1", response.read().decode()) is not None


@contextmanager
def _long_request(endpoints: dict[str, str]) -> Iterator[None]:
    """A request that takes minutes is under way."""
    code = (
        "import sys; from imagegen_client import ImageClient\n"
        "ImageClient(sys.argv[1]).generate('x', n=10, num_inference_steps=100, size='512x512', timeout_ms=3_600_000)"
    )
    with subprocess.Popen([sys.executable, "-c", code, endpoints["gRPC"]], stderr=subprocess.DEVNULL) as client:
        wait_long_until(lambda: _generates(endpoints["metrics"]))
        yield
        client.wait(30)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_in_order_even_with_work_in_flight(
    serving: tuple[subprocess.Popen[str], dict[str, str]], how: signal.Signals
) -> None:
    process, endpoints = serving
    family = _family(process)
    assert len(family) == 8  # the server, a stub for each python model, the engine
    assert _segments(process)
    with ImageClient(endpoints["gRPC"]) as client:
        client.generate("warm", num_inference_steps=1)
    with _long_request(endpoints):
        process.send_signal(how)
        assert process.wait(ENDS_WITHIN_S) == 0
    _, still_there = psutil.wait_procs(family, timeout=1)
    assert still_there == []
    assert _segments(process) == []


def test_a_model_process_that_dies_before_the_frontend_is_ready_is_replaced_and_a_killed_launcher_takes_all_along(
    random_checkpoint: str, tmp_path: Path
) -> None:
    """The server was supervised only once the frontend was ready: until then requests hung for minutes."""
    ports = free_ports(dict.fromkeys(("http", "grpc", "metrics", "openai"), 0))
    options = [f"--{name}-port={port}" for name, port in ports.items()]
    http, grpc, openai = (f"127.0.0.1:{ports[name]}" for name in ("http", "grpc", "openai"))
    # The calls begin just before the kill and must end within 5 s of it; a later end is DeadlineExceeded.
    long: dict[str, Any] = {"prompt": "x", "n": 10, "num_inference_steps": 100, "timeout_s": 6.0}
    failures: list[Exception] = []
    with (
        _run(*options, f"--model={random_checkpoint}", cwd=tmp_path) as process,
        ImageClient(grpc) as grpc_client,
        HttpImageClient(http) as http_client,
    ):
        asks: list[Callable[[], object]] = [
            lambda: grpc_client.generate(**long),
            lambda: http_client.generate(**long),
            lambda: list(grpc_client.stream(**long)),
        ]

        def ask(call: Callable[[], object]) -> None:
            try:
                call()
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=ask, args=[call]) for call in asks]
        assert process.stderr is not None
        # Not the server's own port: it is ready up to a tick before the supervisor knows that it has served.
        assert any(line == "serve: the server is ready\n" for line in process.stderr)
        for thread in threads:
            thread.start()
        time.sleep(0.2)  # they are under way, and the frontend is not there yet
        assert not _is_ready(f"http://{openai}/health/ready")
        own = {"imagegen.launch.serve", "imagegen.openai"}
        family = [child for child in _family(process) if own.isdisjoint(child.cmdline())]
        assert len(family) == 8
        (diffusion,) = (child for child in family if "/diffusion/1/model.py" in " ".join(child.cmdline()))
        diffusion.kill()
        for thread in threads:
            thread.join()
        # Not DeadlineExceeded, which is what a client says that has waited in vain, or for too long.
        assert [type(error) for error in failures if not isinstance(error, Unavailable)] == []
        assert len(failures) == len(asks)
        assert _endpoints(process)["OpenAI"] == f"http://{openai}/v1,"
        assert post(f"http://{openai}", {"prompt": "x", "num_inference_steps": 1})[0] == 200
        assert grpc_client.generate("x", num_inference_steps=1).images
        _, still_there = psutil.wait_procs(family, timeout=ENDS_WITHIN_S)
        assert still_there == []
        family = _family(process)
        assert len(family) == 9  # with the frontend
        process.kill()
        _, still_there = psutil.wait_procs(family, timeout=ENDS_WITHIN_S)
        assert still_there == []


def test_a_busy_port_is_named_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        ended = subprocess.run(
            [*COMMAND, f"--http-port={port}"], cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=60
        )
    assert ended.returncode == 1
    assert ended.stderr == f"serve: http port {port} is not available: Address already in use; give another one\n"


def test_a_model_that_cannot_be_loaded_is_reported_in_its_own_words(tmp_path: Path) -> None:
    """By the engine's process, once it has the checkpoint; what Triton says by itself is in test_embedded_server.py."""
    ports = ["--http-port=0", "--grpc-port=0", "--metrics-port=0", "--openai-port=0"]
    command = [*COMMAND, *ports, "--set=diffusion.warmup_sizes=4096x4096"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 1
    *_, last = ended.stderr.split("serve: ")
    assert last.startswith("the server ended by itself with status 1: model diffusion: ")
    assert re.search('parameter warmup_sizes: .*"4096x4096" is not allowed', last)
    assert "\x1b" not in ended.stderr
    assert "\r" not in ended.stderr
