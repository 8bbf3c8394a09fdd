"""`imagegen serve` as a user starts it, watched from outside."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import psutil

from imagegen.launch.ports import free_ports
from perf.environment import ROOT
from perf.process_tree import engine_of, tree

_LOADED = "serve: loaded "
_PORTS = ("http", "grpc", "metrics", "openai")
_EXIT_TIMEOUT_S = 60.0
_READY_TIMEOUT_S = 1800.0


class ServeProcess:
    """Runs `imagegen serve` on free ports with everything else as it is by default; to be entered as a context.

    Args:
        checkpoint: its folder.
        folder: for what it says.
        options: further ones of `serve`.

    Attributes:
        ready_s: seconds from its start until it said that it is ready.
        load_s: seconds from its start until it said that the weights are loaded.
        peak_bytes: most resident memory of its diffusion process until then.
        endpoints: addresses by the names it prints.

    Raises:
        RuntimeError: on entering, when it ends or is not ready within half an hour.
    """

    def __init__(self, checkpoint: Path, folder: Path, options: Sequence[str] = ()) -> None:
        self._command = [sys.executable, "-m", "imagegen.launch.serve", f"--model={checkpoint}"]
        self._command += [f"--{name}-port={port}" for name, port in free_ports(dict.fromkeys(_PORTS, 0)).items()]
        self._command += options
        self._said = folder / "serve.txt"
        self._endpoints_file = folder / "endpoints.txt"
        self.ready_s = self.load_s = 0.0
        self.peak_bytes = 0
        self.endpoints: dict[str, str] = {}

    def __enter__(self) -> ServeProcess:
        started_s = time.monotonic()
        with self._said.open("w") as said, self._endpoints_file.open("w") as endpoints:
            self._process = subprocess.Popen(self._command, cwd=ROOT, stdout=endpoints, stderr=said)
        try:
            while "Ready." not in self._endpoints_file.read_text():
                if self._process.poll() is not None or time.monotonic() - started_s > _READY_TIMEOUT_S:
                    raise RuntimeError(f"not ready: {self._said.read_text()[-2000:]}")
                self._note_peak()
                if not self.load_s and _LOADED in self.said():
                    self.load_s = time.monotonic() - started_s
                time.sleep(0.1)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.ready_s = time.monotonic() - started_s
        lines = [line.split() for line in self._endpoints_file.read_text().splitlines()]
        self.endpoints = {line[0]: line[1].rstrip(",") for line in lines if len(line) > 1}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(_EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            for process in tree(self._process.pid):
                process.kill()
            self._process.wait()

    def said(self) -> str:
        """What it has said of itself."""
        return self._said.read_text()

    def diffusion(self) -> psutil.Process | None:
        """The process that holds the model, where there is one now."""
        return engine_of(self._process.pid)

    def is_ready(self) -> bool:
        """Whether the frontend says that it is ready."""
        try:
            url = self.endpoints["OpenAI"].removesuffix("/v1")
            with urllib.request.urlopen(f"{url}/health/ready", timeout=5):
                return True
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False

    def metric(self, name: str) -> float:
        """The sum of a metric's series, on Triton's port."""
        url = self.endpoints["metrics"]
        with urllib.request.urlopen(url if "://" in url else f"http://{url}", timeout=5) as response:
            lines = response.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{name}(\{{| )", line))

    def _note_peak(self) -> None:
        process = self.diffusion()
        if process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                self.peak_bytes = max(self.peak_bytes, process.memory_info().rss)
