"""A container's first process: probes tell the truth, a dead model process is replaced, TERM loses nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from imagegen.launch.embedded_frontend import EmbeddedFrontend
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY, other_checkpoint
from imagegen.launch.ports import free_ports
from imagegen_client import HttpImageClient, ImageClient, Unavailable
from tests.service.conftest import PATIENT
from tests.service.server_metrics import wait_long_until
from tests.service.test_openai_operation import post

LONG: dict[str, Any] = {"num_inference_steps": 60, "timeout_s": 120.0}


@dataclass(frozen=True)
class Container:
    """What a container runs, here with the embedded server's program, on loopback."""

    process: subprocess.Popen[bytes]
    http_port: int
    grpc_port: int
    metrics_port: int
    status_port: int

    def status(self, path: str) -> tuple[int, str]:
        """Status and text of the response; 0 while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.status_port}{path}", timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def is_ready(self) -> bool:
        return self.status("/ready")[0] == 200

    def workers(self) -> list[psutil.Process]:
        family = psutil.Process(self.process.pid).children(recursive=True)
        return [process for process in family if process.name().startswith("triton_python")]


@pytest.fixture(scope="module")
def container(random_checkpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    folder = tmp_path_factory.mktemp("container")
    program, *options = EmbeddedServer(MODEL_REPOSITORY).program(folder)
    ports = list(free_ports(dict.fromkeys("abcd", 0)).values())
    named = zip(("http", "grpc", "metrics", "status"), ports, strict=True)
    command = [sys.executable, "-m", "imagegen.launch.supervise", f"--model-repository={MODEL_REPOSITORY}"]
    command += [f"--tritonserver={program}", "--status-address=127.0.0.1", "--drain-timeout-s=120"]
    command += [f"--{name}-port={port}" for name, port in named]
    parameters = {**PATIENT, "diffusion.warmup_sizes": "none", **other_checkpoint(random_checkpoint)}
    command += [f"--set={key}={value}" for key, value in parameters.items()]
    command += ["--", *(option for option in options if "-port=" not in option)]
    environment = EmbeddedServer(MODEL_REPOSITORY).environment()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        yield Container(process, *ports)
    finally:
        process.kill()
        process.wait()
        for segment in _segments(process.pid):
            segment.unlink(missing_ok=True)


def _segments(pid: int) -> list[Path]:
    return list(Path("/dev/shm").glob(f"imagegen_{pid}_*"))


def test_it_is_live_before_it_is_ready(container: Container) -> None:
    wait_long_until(lambda: container.status("/live")[0] == 200)
    assert container.status("/ready") == (503, "starting\n")
    assert container.status("/other")[0] == 404
    wait_long_until(container.is_ready)


def test_a_dead_model_process_is_replaced_and_counted(container: Container) -> None:
    assert "imagegen_server_restarts_total 0" in container.status("/metrics")[1]
    workers = container.workers()
    workers[0].kill()
    wait_long_until(lambda: not container.is_ready())
    assert container.status("/live")[0] == 200
    wait_long_until(container.is_ready)
    assert "imagegen_server_restarts_total 1" in container.status("/metrics")[1]
    assert len(container.workers()) == len(workers)
    assert not any(worker.is_running() for worker in workers)


def test_term_finishes_what_runs_and_refuses_what_is_new(container: Container) -> None:
    """Over every protocol; the last test, as it ends the server."""
    wait_long_until(container.is_ready)
    url = f"127.0.0.1:{container.grpc_port}"
    ended: list[str] = []
    frontend = EmbeddedFrontend(url)
    with frontend, ImageClient(url) as grpc, HttpImageClient(f"127.0.0.1:{container.http_port}") as http:
        calls: dict[str, Callable[[], object]] = {
            "gRPC": lambda: grpc.generate("x", **LONG),
            "HTTP": lambda: http.generate("x", **LONG),
            "stream": lambda: list(grpc.stream("x", **LONG)),
            "OpenAI": lambda: _openai(frontend),
        }

        def call(name: str) -> None:
            calls[name]()
            ended.append(name)

        threads = [threading.Thread(target=call, args=[name]) for name in calls]
        with ImageClient(url) as other:
            events = other.stream("x", num_inference_steps=100, n=2)
            next(events)  # the connection and the models are warm
            for thread in threads:
                thread.start()
            wait_long_until(lambda: _active_requests(container) == 1 + len(calls))
            container.process.send_signal(signal.SIGTERM)
            wait_long_until(lambda: container.status("/ready") == (503, "shutting down\n"))
            with pytest.raises(Unavailable, match="shutting down"):
                grpc.generate("x", num_inference_steps=1)
            with pytest.raises(Unavailable, match="shutting down"):
                http.generate("x", num_inference_steps=1)
            with pytest.raises(Unavailable, match="shutting down"):
                list(grpc.stream("x", num_inference_steps=1))
            assert post(frontend.url, {"prompt": "x"})[0] == 503
            assert list(events)
        for thread in threads:
            thread.join()
        assert sorted(ended) == sorted(calls)
        assert container.process.wait(60) == 0
    assert _segments(container.process.pid) == []


def _openai(frontend: EmbeddedFrontend) -> None:
    status, _, body = post(frontend.url, {"prompt": "x", "num_inference_steps": LONG["num_inference_steps"]})
    assert status == 200, body


def _active_requests(container: Container) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{container.metrics_port}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("imagegen_diffusion_active_requests"))
