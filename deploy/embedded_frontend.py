"""The OpenAI-compatible frontend as a child process on loopback, beside an embedded server."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from deploy.embedded_server import HOST, ServerError, free_port

_ROOT = Path(__file__).resolve().parents[1]
_STOP_MARGIN_S = 5.0


class EmbeddedFrontend:
    """Starts on entering the context, ready: a picture has been drawn through it. TERM and a drain on leaving.

    Args:
        triton_url: `host:port` of the server's gRPC endpoint.
        options: of `python -m openai_frontend`, such as `{"drain-timeout-s": "5"}`; several values as a list.
        port: 0 picks a free one.
        log_file: where its output goes; None for a temporary file, kept when the context ends with an error.
        environment: variables on top of this process's.
        drain_timeout_s: how long requests under way may take to finish.
        ready_timeout_s: longest wait for the first picture.

    Raises:
        ServerError: on entering, when the port is busy or the frontend does not get ready.
    """

    def __init__(
        self,
        triton_url: str,
        *,
        options: Mapping[str, str | list[str]] | None = None,
        port: int = 0,
        log_file: Path | None = None,
        environment: Mapping[str, str] | None = None,
        drain_timeout_s: float = 30.0,
        ready_timeout_s: float = 300.0,
    ) -> None:
        self._options: dict[str, str | list[str]] = {
            "triton-url": triton_url,
            "drain-timeout-s": f"{drain_timeout_s:g}",
            **(options or {}),
        }
        self._requested_port = port
        self._log_file = log_file
        self._own_log_folder: Path | None = None
        self._environment = dict(environment or {})
        self._drain_timeout_s = drain_timeout_s
        self._ready_timeout_s = ready_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """`http://host:port`."""
        return f"http://{HOST}:{self.port}"

    @property
    def log_file(self) -> Path:
        """Its log: a JSON object a line."""
        assert self._log_file is not None, "the frontend has not been started"
        return self._log_file

    @property
    def pid(self) -> int:
        """Process id of the running frontend."""
        assert self._process is not None, "the frontend is not running"
        return self._process.pid

    def __enter__(self) -> EmbeddedFrontend:
        try:
            self._start()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is None and self._own_log_folder is not None:
            shutil.rmtree(self._own_log_folder, ignore_errors=True)

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""
        assert self._process is not None, "the frontend is not running"
        return self._process.poll()

    def stop(self) -> int | None:
        """Let requests under way finish, within bounds, and end it; its exit status. Safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self._drain_timeout_s + _STOP_MARGIN_S)
            process.kill()
        return process.wait()

    def _start(self) -> None:
        self.port = free_port("OpenAI", self._requested_port)
        if self._log_file is None:
            self._own_log_folder = Path(tempfile.mkdtemp(prefix="imagegen-log-"))
            self._log_file = self._own_log_folder / "openai_frontend.log"
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "openai_frontend", "--host", HOST, "--port", str(self.port)]
        for option, value in self._options.items():
            command += [f"--{option}", *([value] if isinstance(value, str) else value)]
        setpriv = shutil.which("setpriv")
        if setpriv:  # so that it goes even when this process is killed outright
            command = [setpriv, "--pdeathsig", "TERM", *command]
        path = os.pathsep.join([str(_ROOT), str(_ROOT / "client"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": path, **self._environment},
                start_new_session=True,  # Ctrl-C in a terminal reaches us alone; we end it in order
            )

    def _wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + self._ready_timeout_s
        while not _ready(f"{self.url}/health/ready"):
            if self.poll() is not None:
                raise ServerError(f"the frontend ended while starting: {self._last_words()}")
            if time.monotonic() > deadline_s:
                raise ServerError(f"the frontend is not ready after {self._ready_timeout_s:g} s: {self._last_words()}")
            time.sleep(0.1)

    def _last_words(self) -> str:
        lines = self.log_file.read_text(errors="replace").splitlines()
        return " · ".join(lines[-3:]) + f" (log: {self.log_file})"


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
