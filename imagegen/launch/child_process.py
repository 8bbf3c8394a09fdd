"""A program that runs beside this one on loopback, is waited for, and ends with it."""

from __future__ import annotations

import contextlib
import math
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

HOST = "127.0.0.1"
_POLL_S = 0.1


class ServerError(RuntimeError):
    """A server could not start; the message says why, in its own words where it had any."""


class ChildProcess(ABC):
    """Starts on entering the context, ready to serve; ended on leaving.

    Who must not wait for it pushes it on an `ExitStack`, calls `launch` and then `has_started` until it has.

    Args:
        name: of the program, for its log and messages.
        log_file: where its output goes; None for a temporary file, kept when the context ends with an error.
        ready_timeout_s: longest wait until it is ready; None for as long as it takes.
        exit_timeout_s: longest wait until it has ended in order.
        inherit_output: its output goes where ours does instead.

    Raises:
        ServerError: on entering, when it does not get ready.
    """

    def __init__(
        self,
        name: str,
        *,
        log_file: Path | None,
        ready_timeout_s: float | None,
        exit_timeout_s: float,
        inherit_output: bool = False,
    ) -> None:
        self._name = name
        self._log_file = log_file
        self._inherit_output = inherit_output
        self._own_log_folder: Path | None = None
        self._ready_timeout_s = ready_timeout_s
        self._exit_timeout_s = exit_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._deadline_s = math.inf
        self._started_before = False

    @property
    def log_file(self) -> Path:
        """The file that its output goes to."""
        assert self._log_file is not None, f"{self._name} has not been started"
        return self._log_file

    @property
    def pid(self) -> int:
        """Process id of the running program."""
        assert self._process is not None, f"{self._name} is not running"
        return self._process.pid

    def is_ready(self) -> bool:
        """Whether it says that it is ready to serve."""
        return responds(self._ready_url)

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""
        assert self._process is not None, f"{self._name} is not running"
        return self._process.poll()

    def launch(self) -> None:
        """Start it without waiting until it is ready.

        Raises:
            ServerError: it cannot be started.
        """
        self._start()
        if self._ready_timeout_s is not None:
            self._deadline_s = time.monotonic() + self._ready_timeout_s

    def has_started(self) -> bool:
        """Whether it is ready, after `launch`.

        Raises:
            ServerError: it has ended, or is not ready by its deadline.
        """
        if self.is_ready():
            return True
        if self.poll() is not None:
            raise ServerError(f"{self._name} ended while starting: {self.reason()}")
        if time.monotonic() > self._deadline_s:
            raise ServerError(f"{self._name} is not ready after {self._ready_timeout_s:g} s: {self.reason()}")
        return False

    def __enter__(self) -> Self:
        try:
            self.launch()
            while not self.has_started():
                time.sleep(_POLL_S)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        failed = isinstance(error, Exception)  # Ctrl-C is the ordinary way to end
        if not failed and self._own_log_folder is not None:
            shutil.rmtree(self._own_log_folder, ignore_errors=True)

    def stop(self) -> int | None:
        """End it, in order when it does so in time; its exit status, None when it does not run. Safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(self._exit_timeout_s)
            except subprocess.TimeoutExpired:
                pass
            finally:  # also when Ctrl-C interrupts the wait
                process.kill()
        return process.wait()

    def reason(self) -> str:
        """Why it has ended or is not ready: the last lines of its log."""
        lines = self.log_file.read_text(errors="replace").splitlines()
        return " · ".join(lines[-3:]) + f" (log: {self.log_file})"

    @abstractmethod
    def _start(self) -> None:
        """Prepare it and start it with `_launch`."""

    @property
    @abstractmethod
    def _ready_url(self) -> str:
        """The address whose response has status 200 once it is ready."""

    def _launch(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        setpriv = shutil.which("setpriv")
        if setpriv:  # so that it goes even when this process is killed outright
            command = [setpriv, "--pdeathsig", "TERM", *command]
        with contextlib.nullcontext() if self._inherit_output else self._open_log() as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=None if log is None else subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C in a terminal reaches us alone; we end it in order
            )

    def _open_log(self) -> IO[bytes]:
        if self._log_file is None:
            self._own_log_folder = Path(tempfile.mkdtemp(prefix="imagegen-log-"))
            self._log_file = self._own_log_folder / f"{self._name}.log"
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        mode: Literal["ab", "wb"] = "ab" if self._started_before else "wb"  # what led to a restart is kept
        self._started_before = True
        return self._log_file.open(mode)


def responds(url: str, timeout_s: float = 2.0) -> bool:
    """Whether the response to a GET of `url` comes in time and has status 200."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
