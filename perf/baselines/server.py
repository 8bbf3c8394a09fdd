"""A baseline's server as a child process on loopback."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from pathlib import Path

import psutil

from imagegen.launch.child_process import HOST, ChildProcess
from imagegen.launch.ports import free_port
from perf.baselines import generate
from perf.baselines.client import Baseline, BaselineClient
from perf.baselines.environments import make_environment
from perf.environment import ROOT

BATCHES = f"batches of up to {generate.MAX_BATCH}, {generate.MAX_DELAY_S * 1000:g} ms of waiting"
_READY_TIMEOUT_S = 120.0
COMPILED_TIMEOUT_S = 900.0  # several compile at the same time
_EXIT_TIMEOUT_S = 15.0


def _first_of_json(body: bytes) -> bytes:
    return base64.b64decode(json.loads(body)[0], validate=True)


BASELINES = {
    "fastapi": Baseline(
        "FastAPI",
        "FastAPI + diffusers, the usual hand-made server: one pipeline behind a lock, one request at a time",
        ("-m", "perf.baselines.fastapi_server"),
    ),
    "engine_library": Baseline(
        "FastAPI with our engine",
        "`docs/examples/fastapi_server.py`: FastAPI with this project's engine as a library, no Triton",
        ("-m", "perf.baselines.engine_server"),
        "/openapi.json",
    ),
    "litserve": Baseline("LitServe", f"LitServe, {BATCHES}", ("-m", "perf.baselines.litserve_server")),
    "ray_serve": Baseline(
        "Ray Serve",
        f"Ray Serve, one replica, `serve.batch`: {BATCHES}",
        ("-m", "perf.baselines.ray_serve_server"),
        "/generate",
    ),
    "bentoml": Baseline(
        "BentoML",
        f"BentoML, adaptive batching: up to {generate.MAX_BATCH} requests, waiting as it finds best",
        ("-m", "bentoml", "serve", "perf.baselines.bentoml_server:Generate", "--host", HOST, "--port", "PORT"),
        "/readyz",
        body=lambda values: {"requests": [values]},
        image=_first_of_json,
    ),
}
"""By name. The batching ones generate requests of equal steps and guidance in one pipeline call."""


class BaselineServer(ChildProcess):
    """Starts on entering the context, ready to serve; ends with all its processes.

    Args:
        name: one of `BASELINES`.
        checkpoint: folder of a diffusers checkpoint.
        adapters: folder of LoRA adapters; None for none.
        compiled_px: side of the images for which torch.compile is used; None where it is not.
        control: folder of a control network; None for none.

    Raises:
        ServerError: when it cannot be installed, and on entering, when it does not get ready.
    """

    def __init__(
        self,
        name: str,
        checkpoint: Path,
        adapters: Path | None = None,
        compiled_px: int | None = None,
        control: Path | None = None,
    ) -> None:
        ready_timeout_s = _READY_TIMEOUT_S if compiled_px is None else COMPILED_TIMEOUT_S
        super().__init__(name, log_file=None, ready_timeout_s=ready_timeout_s, exit_timeout_s=_EXIT_TIMEOUT_S)
        self._baseline = BASELINES[name]
        self._checkpoint = checkpoint
        self._adapters = adapters
        self._compiled_px = compiled_px
        self._control = control
        self._python = make_environment(name)
        self._port = 0

    @property
    def url(self) -> str:
        """`http://host:port`."""
        return f"http://{HOST}:{self._port}"

    def client(self) -> BaselineClient:
        """A client of it."""
        return BaselineClient(self.url, self._baseline)

    def stop(self) -> int | None:
        """End it and everything that it started; its exit status. Safe to call twice."""
        started: list[psutil.Process] = []
        if self._process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                started = psutil.Process(self.pid).children(recursive=True)
        try:
            return super().stop()
        finally:
            for left in started:  # those of Ray and of LitServe are not all of one process group
                with contextlib.suppress(psutil.NoSuchProcess):
                    left.kill()

    def _start(self) -> None:
        self._port = free_port(self._name, 0)
        port = str(self._port)
        command = [str(self._python), *(port if part == "PORT" else part for part in self._baseline.arguments)]
        environment = {
            **os.environ,
            generate.CHECKPOINT: str(self._checkpoint),
            generate.PORT: port,
            generate.ADAPTERS: str(self._adapters or ""),
            generate.COMPILED: str(self._compiled_px or ""),
            generate.CONTROL: str(self._control or ""),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'client'}",
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
        return f"{self.url}{self._baseline.ready_path}"
