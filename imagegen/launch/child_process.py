"""A program that runs beside this one on loopback, is waited for, and ends with it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

HOST = "127.0.0.1"


class ServerError(RuntimeError):
    """A server could not start; the message says why, in its own words where it had any."""


class ChildProcess(ABC):
    """Starts on entering the context, ready to serve; ended on leaving.

    Args:
        name: of the program, for its log and messages.
        log_file: where its output goes; None for a temporary file, kept when the context ends with an error.
        ready_timeout_s: longest wait until it is ready.
        inherit_output: its output goes where ours does instead.

    Raises:
        ServerError: on entering, when it does not get ready.
    """

    def __init__(
        self, name: str, *, log_file: Path | None, ready_timeout_s: float, inherit_output: bool = False
    ) -> None:
        self._name = name
        self._log_file = log_file
        self._inherit_output = inherit_output
        self._own_log_folder: Path | None = None
        self._ready_timeout_s = ready_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._started_before = False

    @property
    def log_file(self) -> Path:
        """What it has written."""
        assert self._log_file is not None, f"{self._name} has not been started"
        return self._log_file

    @property
    def pid(self) -> int:
        """Process id of the running program."""
        assert self._process is not None, f"{self._name} is not running"
        return self._process.pid

    def is_ready(self) -> bool:
        """Whether it answers that it is."""
        return answers(self._ready_url)

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""
        assert self._process is not None, f"{self._name} is not running"
        return self._process.poll()

    def __enter__(self) -> Self:
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
        failed = isinstance(error, Exception)  # Ctrl-C is the ordinary way to end
        if not failed and self._own_log_folder is not None:
            shutil.rmtree(self._own_log_folder, ignore_errors=True)

    @abstractmethod
    def stop(self) -> int | None:
        """End it; its exit status, None when it does not run. Safe to call twice."""

    @abstractmethod
    def _start(self) -> None:
        """Prepare and `_launch` it."""

    @property
    @abstractmethod
    def _ready_url(self) -> str:
        """Answers 200 when it is ready."""

    @abstractmethod
    def _reason(self) -> str:
        """Why it has ended or is not ready, from its log."""

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

    def _wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + self._ready_timeout_s
        while not self.is_ready():
            if self.poll() is not None:
                raise ServerError(f"{self._name} ended while starting: {self._reason()}")
            if time.monotonic() > deadline_s:
                raise ServerError(f"{self._name} is not ready after {self._ready_timeout_s:g} s: {self._reason()}")
            time.sleep(0.1)


def free_ports(wanted: Mapping[str, int]) -> dict[str, int]:
    """For each name the port itself when nobody listens on it, and a free one for 0; free ones are all different.

    Raises:
        ServerError: somebody listens on one.
    """
    with ExitStack() as probes:  # all are held until all are chosen, else the kernel may give one twice
        return {name: _bind(probes.enter_context(socket.socket()), name, port) for name, port in wanted.items()}


def free_port(name: str, port: int) -> int:
    """One of them."""
    return free_ports({name: port})[name]


def _bind(probe: socket.socket, name: str, port: int) -> int:
    if port:  # left by a server that has just ended it is free again; a port to choose must not be shared, though
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((HOST, port))
    except OSError as error:
        raise ServerError(f"{name} port {port} is not available: {error.strerror}; give another one") from None
    return int(probe.getsockname()[1])


def answers(url: str, timeout_s: float = 2.0) -> bool:
    """Whether a GET of `url` is answered with 200 in time."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
