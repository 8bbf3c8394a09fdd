"""The embedded server's life: it says why it cannot start, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from imagegen.launch.child_process import ServerError
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY
from imagegen_client import ImageClient

ROOT = Path(__file__).resolve().parents[2]
GONE_WITHIN_S = 10
NOTICED_WITHIN_S = 30  # a fraction of a second; but not while others take all of the machine


def test_a_model_that_fails_to_load_is_reported_in_its_own_words() -> None:
    with (
        pytest.raises(ServerError, match=r"model diffusion: .*no_such_checkpoint") as failed,
        EmbeddedServer(MODEL_REPOSITORY, parameters={"diffusion.model": "no_such_checkpoint"}),
    ):
        pass
    assert "\n" not in str(failed.value)


def test_wrong_parameters_are_named() -> None:
    wrong = {
        "diffusion.max_batch_rows": "0",
        "image_preprocess.max_connections": "many",
        "image_postprocess.speed": "fast",
    }
    with pytest.raises(ServerError) as failed, EmbeddedServer(MODEL_REPOSITORY, parameters=wrong):
        pass
    for words in ("max_batch_rows", "max_connections: 'many' is not a valid int", "'speed' is unknown"):
        assert words in str(failed.value)


def test_a_parameter_of_no_model_is_refused() -> None:
    with (
        pytest.raises(ValueError, match="models are diffusion"),
        EmbeddedServer(MODEL_REPOSITORY, parameters={"x.y": "1"}),
    ):
        pass


def test_a_busy_port_is_named() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with (
            pytest.raises(ServerError, match=f"grpc port {port} is not available"),
            EmbeddedServer(MODEL_REPOSITORY, grpc_port=port),
        ):
            pass


def _as_in_a_background_job() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what a shell without job control does


@pytest.fixture
def serving() -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """`./build.sh serve` on free ports, ready, with the endpoints it printed."""
    command = [
        sys.executable,
        "-m",
        "imagegen.launch.serve",
        "--http-port=0",
        "--grpc-port=0",
        "--metrics-port=0",
        "--openai-port=0",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_as_in_a_background_job,
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ready"):
                break
        yield process, dict(line.split()[:2] for line in lines[:-1])
        process.kill()
    for segment in _segments(process):  # a launcher that was killed outright could not
        segment.unlink(missing_ok=True)


def _family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def _wait_until_drawing(metrics_url: str) -> None:
    for _ in range(300):
        with urllib.request.urlopen(metrics_url, timeout=10) as response:
            if re.search(r"imagegen_diffusion_active_requests\{.*\} 1", response.read().decode()):
                return
        time.sleep(0.1)
    raise AssertionError("nothing is being drawn")


def _wait_until_ready(url: str) -> None:
    for _ in range(1200):
        with suppress(OSError), urllib.request.urlopen(f"{url}/v2/health/ready", timeout=10):
            return
        time.sleep(0.1)
    raise AssertionError("not ready after two minutes")


@contextmanager
def _flood(endpoints: dict[str, str]) -> Iterator[None]:
    """A request that takes minutes is being drawn."""
    code = (
        "import sys; from imagegen_client import ImageClient\n"
        "ImageClient(sys.argv[1]).generate('x', n=10, num_inference_steps=100, size='512x512')"
    )
    with subprocess.Popen([sys.executable, "-c", code, endpoints["gRPC"]], stderr=subprocess.DEVNULL) as client:
        _wait_until_drawing(endpoints["metrics"])
        yield
        client.wait(30)


def _segments(process: subprocess.Popen[str]) -> list[Path]:
    return list(Path("/dev/shm").glob(f"imagegen_{process.pid}_*"))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_in_order_even_with_work_in_flight(
    serving: tuple[subprocess.Popen[str], dict[str, str]], how: signal.Signals
) -> None:
    process, endpoints = serving
    family = _family(process)
    assert len(family) == 6  # the server and a stub for each python model
    assert _segments(process)
    with ImageClient(endpoints["gRPC"]) as client:
        client.generate("warm", num_inference_steps=1)
    with _flood(endpoints):
        process.send_signal(how)
        assert process.wait(GONE_WITHIN_S) == 0
    _, still_there = psutil.wait_procs(family, timeout=1)
    assert still_there == []
    assert _segments(process) == []


def test_a_dead_worker_is_replaced_and_a_killed_launcher_takes_the_new_server_with_it(
    serving: tuple[subprocess.Popen[str], dict[str, str]],
) -> None:
    process, endpoints = serving
    family = _family(process)
    family[-1].kill()
    _, still_there = psutil.wait_procs(family, timeout=NOTICED_WITHIN_S)
    assert still_there == []
    _wait_until_ready(endpoints["HTTP"])
    with ImageClient(endpoints["gRPC"]) as client:
        client.generate("x", num_inference_steps=1)
    family = _family(process)
    assert len(family) == 6
    process.kill()
    _, still_there = psutil.wait_procs(family, timeout=GONE_WITHIN_S)
    assert still_there == []


def test_shared_memory_of_killed_launchers_is_removed_by_the_next_one() -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    stale = Path("/dev/shm") / f"imagegen_{ended.pid}_1_left"
    mine = Path("/dev/shm") / f"imagegen_{os.getpid()}_1_kept"
    for segment in (stale, mine):
        segment.touch()
    try:
        with EmbeddedServer(MODEL_REPOSITORY, parameters={"diffusion.warmup_sizes": "none"}):
            assert not stale.exists()
            assert mine.exists()
    finally:
        mine.unlink()


def test_serve_says_which_port_is_busy_in_one_line() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        command = [sys.executable, "-m", "imagegen.launch.serve", f"--http-port={port}"]
        ended = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
        )
    assert ended.returncode == 1
    assert ended.stderr == f"serve: http port {port} is not available: Address already in use; give another one\n"
