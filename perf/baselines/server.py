"""A peer's server as a child process on loopback, and a client for it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
import psutil

from imagegen.launch.child_process import HOST, ChildProcess
from imagegen.launch.ports import free_port
from imagegen_client import GenerateResult
from imagegen_client.errors import DeadlineExceeded, InternalError, ServerUnreachable
from perf.peers import drawing
from perf.peers.environments import make_environment

_ROOT = Path(__file__).resolve().parents[2]
_READY_TIMEOUT_S = 120.0
_EXIT_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Peer:
    """How a peer is started and asked.

    Attributes:
        meaning: what it is, for the report.
        arguments: of its Python; PORT stands for the port. Not used of plain Triton, as `ready_path`.
        ready_path: answers 200 when it serves.
        draw_path: takes requests.
        body: the JSON to send for the values of one request.
        image: the PNG file in an answer's body.
    """

    meaning: str
    arguments: tuple[str, ...] = ()
    ready_path: str = "/health"
    draw_path: str = "/draw"
    body: Callable[[dict[str, Any]], object] = lambda values: values
    image: Callable[[bytes], bytes] = lambda answer: answer


BATCHES = f"batches of up to {drawing.MAX_BATCH}, {drawing.MAX_DELAY_S * 1000:g} ms of waiting"


def _first_of_json(answer: bytes) -> bytes:
    return base64.b64decode(json.loads(answer)[0], validate=True)


PEERS = {
    "fastapi": Peer(
        "FastAPI + diffusers, the usual hand-made server: one pipeline behind a lock, one request at a time",
        ("-m", "perf.peers.fastapi_server"),
    ),
    "litserve": Peer(f"LitServe, {BATCHES}", ("-m", "perf.peers.litserve_server")),
    "ray_serve": Peer(
        f"Ray Serve, one replica, `serve.batch`: {BATCHES}", ("-m", "perf.peers.ray_serve_server"), "/draw"
    ),
    "bentoml": Peer(
        f"BentoML, adaptive batching: up to {drawing.MAX_BATCH} requests, waiting as it finds best",
        ("-m", "bentoml", "serve", "perf.peers.bentoml_server:Draw", "--host", HOST, "--port", "PORT"),
        "/readyz",
        body=lambda values: {"requests": [values]},
        image=_first_of_json,
    ),
}
"""By name. The batching ones draw requests of equal steps and guidance in one pipeline call, others in further ones."""


class PeerServer(ChildProcess):
    """Starts on entering the context, ready to serve; ends with all its processes.

    Args:
        name: one of `PEERS`.
        checkpoint: folder of a diffusers checkpoint.
        side_px: width and height of the images.

    Raises:
        ServerError: on entering, when it cannot be installed or does not get ready.
    """

    def __init__(self, name: str, checkpoint: Path, side_px: int) -> None:
        super().__init__(name, log_file=None, ready_timeout_s=_READY_TIMEOUT_S)
        self._peer = PEERS[name]
        self._python = make_environment(name)
        self._port = 0
        self._setup = {drawing.CHECKPOINT: str(checkpoint), drawing.SIDE_PX: str(side_px)}

    @property
    def url(self) -> str:
        """`http://host:port`."""
        return f"http://{HOST}:{self._port}"

    def client(self) -> PeerClient:
        """A client of it."""
        return PeerClient(self.url, self._peer)

    def stop(self) -> int | None:
        """End it and everything that it started; its exit status. Safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return None
        started: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            started = psutil.Process(process.pid).children(recursive=True)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_EXIT_TIMEOUT_S)
        for left in started:  # those of Ray and of LitServe are not all of one process group
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        process.kill()
        return process.wait()

    def _start(self) -> None:
        self._port = free_port(self._name, 0)
        command = [str(self._python), *(str(self._port) if part == "PORT" else part for part in self._peer.arguments)]
        environment = {
            **os.environ,
            **self._setup,
            drawing.PORT: str(self._port),
            "PYTHONPATH": str(_ROOT),
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",  # as everybody else; Ray would take 15
            "RAY_AUTH_MODE": "disabled",
            "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",  # others start beside it
            "BENTOML_DO_NOT_TRACK": "1",
        }
        self._launch(command, environment)

    @property
    def _ready_url(self) -> str:
        return f"{self.url}{self._peer.ready_path}"

    def reason(self) -> str:
        lines = self.log_file.read_text(errors="replace").splitlines()
        return " · ".join(lines[-3:]) + f" (log: {self.log_file})"


class PeerClient:
    """For asyncio, over HTTP, connections kept open.

    Args:
        url: `http://host:port`.
        peer: how it is asked.
    """

    def __init__(self, url: str, peer: Peer) -> None:
        self._url = url + peer.draw_path
        self._peer = peer

    async def generate(self, prompt: str, *, timeout_s: float, seed: int, **values: Any) -> GenerateResult:
        """The image. Peers do not tell its seed: what they draw with another one is another image.

        Raises:
            ImageGenerationError: there is none.
        """
        body = self._peer.body({"prompt": prompt, "seed": seed, **values})
        try:
            timeout = aiohttp.ClientTimeout(total=timeout_s)
            async with self._session.post(self._url, json=body, timeout=timeout) as answer:
                data = await answer.read()
                if answer.status != 200:
                    raise InternalError(f"status {answer.status}: {data[:300]!r}")
                return GenerateResult((self._peer.image(data),), (), (seed,), {})
        except (TimeoutError, asyncio.TimeoutError) as error:  # two classes before Python 3.11
            raise DeadlineExceeded(f"no answer within {timeout_s} s") from error
        except (OSError, ValueError, LookupError, aiohttp.ClientError) as error:
            raise ServerUnreachable(f"{self._url}: {error}") from error

    async def __aenter__(self) -> PeerClient:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
