"""A model process that dies takes its requests with it, but none of them hangs, and the server is there again.

Set IMAGEGEN_KILLS for a longer run.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from checkpoint.random_checkpoint import make_checkpoint
from imagegen.backoff import Backoff
from imagegen.launch.embedded_frontend import EmbeddedFrontend
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY, other_checkpoint
from imagegen.launch.supervisor import State
from imagegen_client import HttpImageClient, ImageClient, Unavailable
from tests.service.conftest import PATIENT
from tests.service.supervised_server import SupervisedServer

KILLS = int(os.environ.get("IMAGEGEN_KILLS", "3"))
HOW = (signal.SIGKILL, signal.SIGSEGV)  # the first is also what the kernel sends when memory runs out
WORKERS = ("diffusion", "diffusion", "image_generation_stream")
DEADLINE_S = 60.0
NO_BACKOFF = Backoff(stable_s=0.0)  # whatever served has got over its failures


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recovery") / "checkpoint"
    make_checkpoint(folder)
    return folder


@pytest.fixture(scope="module")
def supervised(checkpoint: Path) -> Iterator[SupervisedServer]:
    parameters = {
        **PATIENT,
        "diffusion.warmup_sizes": "none",
        **other_checkpoint(str(checkpoint)),
    }
    running = SupervisedServer(EmbeddedServer(MODEL_REPOSITORY, parameters=parameters), NO_BACKOFF)
    running.start()
    try:
        running.wait_for(State.SERVING)
        yield running
    finally:
        running.stop()
    assert running.segments() == []


@pytest.fixture(scope="module")
def frontend(supervised: SupervisedServer) -> Iterator[EmbeddedFrontend]:
    with EmbeddedFrontend(supervised.server.grpc_url) as running:
        yield running


_numbers = itertools.count()


def _prompt() -> str:
    """Another one each time: the same that is there whenever the engine dies would be taken for the cause."""
    return f"x {next(_numbers)}"


class Users:
    """Users who send request after request over every protocol, and note what became of each."""

    def __init__(self, server: EmbeddedServer, frontend: EmbeddedFrontend) -> None:
        self.responses: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._left = threading.Event()
        self._url = frontend.url
        self._grpc = ImageClient(server.grpc_url)
        self._http = HttpImageClient(server.http_url)
        calls: dict[str, Callable[[int], object]] = {
            "gRPC": lambda steps: self._grpc.generate(_prompt(), num_inference_steps=steps, timeout_s=DEADLINE_S),
            "HTTP": lambda steps: self._http.generate(_prompt(), num_inference_steps=steps, timeout_s=DEADLINE_S),
            "stream": lambda steps: list(self._grpc.stream(_prompt(), num_inference_steps=steps, timeout_s=DEADLINE_S)),
            "OpenAI": self._openai,
        }
        self._threads = [threading.Thread(target=self._send, args=item) for item in calls.items()]

    def __enter__(self) -> Users:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        for thread in self._threads:
            thread.join()
        self._grpc.close()

    def _send(self, protocol: str, call: Callable[[int], object]) -> None:
        dice = random.Random(protocol)
        while not self._left.is_set():
            try:
                call(dice.choice([2, 8, 30]))
                self.responses[protocol] += 1
            except Unavailable:
                self.responses[f"{protocol} unavailable"] += 1
                time.sleep(0.3)  # as one would
            except Exception as error:
                self.wrong.append(f"{protocol}: {type(error).__name__}: {error}")

    def _openai(self, steps: int) -> None:
        body = json.dumps({"prompt": _prompt(), "num_inference_steps": steps}).encode()
        request = urllib.request.Request(
            f"{self._url}/v1/images/generations", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as response:
                response.read()
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 503:
                    raise Unavailable("503") from None
                raise


def _counts(supervised: SupervisedServer, frontend: EmbeddedFrontend) -> dict[str, int]:
    """What may not grow, once nothing is under way. Threads and sockets of clients are given time to go."""
    here, server = psutil.Process(), psutil.Process(supervised.server.pid)
    return {
        "processes": len(here.children(recursive=True)),
        "shared memory": len(supervised.segments()),
        "files of this process": here.num_fds(),
        "files of the frontend": psutil.Process(frontend.pid).num_fds(),
        "files of the server": server.num_fds(),
    }


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health/ready", timeout=30):
            return True
    except urllib.error.HTTPError as error:
        with error:
            if error.code != 503:
                raise
        return False


def _generates(server: EmbeddedServer) -> bool:
    """Whether it generates an image; gRPC needs up to a second to find a server that is there again."""
    try:
        with ImageClient(server.grpc_url) as client:
            list(client.stream("x", num_inference_steps=1, timeout_s=DEADLINE_S))
    except Unavailable:
        return False
    return True


def test_every_request_ends_however_often_a_worker_dies(
    supervised: SupervisedServer, frontend: EmbeddedFrontend
) -> None:
    server = supervised.server
    with Users(server, frontend):  # what is made once is made now
        supervised.kill_worker("diffusion", signal.SIGKILL)
        supervised.wait_until(lambda: _generates(server))
    before = _counts(supervised, frontend)
    dice = random.Random(9)
    with Users(server, frontend) as users:
        for kill in range(KILLS):
            time.sleep(dice.uniform(0, 1.5))
            supervised.kill_worker(WORKERS[kill % len(WORKERS)], HOW[kill % len(HOW)])
            supervised.wait_until(lambda: _generates(server))
    assert users.wrong == []
    assert {"gRPC", "HTTP", "stream", "OpenAI"} <= set(users.responses)
    assert any(name.endswith("unavailable") for name in users.responses)
    died = [text for text in supervised.reports if "died" in text][-KILLS:]
    assert [WORKERS[kill % len(WORKERS)] in text for kill, text in enumerate(died)] == [True] * KILLS
    print(dict(users.responses))
    supervised.wait_until(lambda: _is_ready(frontend.url))
    after: dict[str, int] = {}

    def none_more() -> bool:
        after.update(_counts(supervised, frontend))
        return all(after[name] <= before[name] + (2 if name.startswith("files") else 0) for name in before)

    try:
        supervised.wait_until(none_more, polls=1000)
    except AssertionError:
        pytest.fail(f"before {before}, after {KILLS} kills {after}")


def _engine(server: EmbeddedServer) -> psutil.Process | None:
    """The engine's process; None while there is none."""
    for process in psutil.Process(server.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "imagegen.engine.worker" in process.cmdline():
                return process
    return None


def test_the_engine_may_die_and_nothing_else_does(supervised: SupervisedServer, frontend: EmbeddedFrontend) -> None:
    """No connection breaks, no model starts again, and who waits goes on waiting."""
    server, restarts = supervised.server, supervised.supervisor.restarts
    supervised.wait_until(lambda: _generates(server))
    pid, before = server.pid, _counts(supervised, frontend)
    dice = random.Random(20)
    with Users(server, frontend) as users:
        for kill in range(KILLS):
            time.sleep(dice.uniform(0, 1.5))
            supervised.wait_until(lambda: _engine(server) is not None)
            engine = _engine(server)
            assert engine is not None
            engine.send_signal(HOW[kill % len(HOW)])
            supervised.wait_until(lambda engine=engine: not engine.is_running())  # type: ignore[misc]
            supervised.wait_until(lambda: _generates(server))
    assert users.wrong == []
    assert {"gRPC", "HTTP", "stream", "OpenAI"} <= set(users.responses)
    assert any(name.endswith("unavailable") for name in users.responses)
    assert (server.pid, supervised.supervisor.restarts) == (pid, restarts)
    after: dict[str, int] = {}

    def none_more() -> bool:
        after.update(_counts(supervised, frontend))
        return all(after[name] <= before[name] + (2 if name.startswith("files") else 0) for name in before)

    supervised.wait_until(none_more, polls=1000)


def test_a_crash_loop_turns_readiness_off_until_the_cause_is_gone(
    supervised: SupervisedServer, frontend: EmbeddedFrontend, checkpoint: Path
) -> None:
    supervised.wait_until(lambda: _is_ready(frontend.url))
    elsewhere = checkpoint.rename(checkpoint.with_name("elsewhere"))
    before = supervised.supervisor.restarts
    (pid,) = supervised.server.workers.pids("diffusion")
    os.kill(pid, signal.SIGKILL)
    supervised.wait_until(lambda: not _is_ready(frontend.url))
    supervised.wait_until(lambda: supervised.supervisor.restarts >= before + 2)
    assert not supervised.server.is_ready()
    elsewhere.rename(checkpoint)
    supervised.wait_for(State.SERVING)
    supervised.wait_until(lambda: _is_ready(frontend.url))
    assert any("it is started again in 1 s" in text for text in supervised.reports)
