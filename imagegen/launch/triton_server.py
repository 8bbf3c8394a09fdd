"""A `tritonserver` that serves a model repository: how it is started, drained, ended and cleaned up after."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path

from imagegen.file_names import temporary_folder
from imagegen.launch.child_process import HOST, ChildProcess, responds
from imagegen.launch.staging import stage_repository
from imagegen.launch.triton_options import PARAMETERS, known_options, triton_arguments, triton_environment
from imagegen.launch.workers import Workers
from imagegen.triton.drain import begin_drain, open_requests
from imagegen.triton.heartbeat import all_serve
from imagegen.triton.run_folder import remove_stale_run_folders, run_folder

_EXIT_TIMEOUT_S = 4  # by then nothing is under way: for Triton to unload the models
_CUT_OFF_S = 1.0  # the same where something still is, which would hold it up
_DRAIN_POLL_S = 0.1
_QUIET_POLLS = 3  # a request that goes from one model to the next is with neither for a moment
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_SHM_FOLDER = Path("/dev/shm")
_LIVE_TIMEOUT_S = 30.0
_LAST_WORDS_S = 10.0  # for Triton to say why a model could not be loaded, and to end


class TritonServer(ChildProcess):
    """Starts on entering the context, ready to serve; leaves no process, model process or shared memory behind.

    Args:
        repository: the model repository.
        parameters: `{"model.parameter": value}`, set over those in the `config.pbtxt` files.
        drain_timeout_s: how long requests under way may take to finish when it is ended.
        log_file, ready_timeout_s, inherit_output: see ChildProcess.

    Raises:
        ServerError: on entering, when a model fails to load or the server does not get ready.
    """

    def __init__(
        self,
        repository: Path,
        *,
        parameters: Mapping[str, str] | None,
        drain_timeout_s: float,
        log_file: Path | None,
        ready_timeout_s: float,
        inherit_output: bool = False,
    ) -> None:
        super().__init__(
            "tritonserver",
            log_file=log_file,
            ready_timeout_s=ready_timeout_s,
            exit_timeout_s=_EXIT_TIMEOUT_S + 1,
            inherit_output=inherit_output,
        )
        self._repository = repository
        self._longest_start_s = ready_timeout_s
        self._parameters = dict(parameters or {})
        if (repository / "diffusion").exists():
            self._parameters = PARAMETERS | self._parameters
        self._known_options: frozenset[str] | None = None
        self._drain_timeout_s = drain_timeout_s
        self._run_folder: Path | None = None
        self.shm_prefix = f"imagegen_{os.getpid()}_{id(self):x}_"
        self._workers: Workers | None = None
        self._live_s = 0.0
        self._has_been_ready = self._has_ever_been_ready = False
        self._dead_since_s: float | None = None
        self.http_port = 0

    @property
    def http_url(self) -> str:
        """`host:port`, as tritonclient wants it."""
        return f"{HOST}:{self.http_port}"

    @property
    def ready_timeout_s(self) -> float:
        """Longest wait for every model to be loaded and warm."""
        return self._longest_start_s

    @property
    def workers(self) -> Workers:
        """Its model processes, as far as `note_workers` has seen them."""
        if self._workers is None:
            self._workers = Workers(self.pid)
        return self._workers

    def owns(self, pid: int) -> bool:
        """Whether this child of ours is the server, whose exit status is collected here."""
        return self._process is not None and self._process.pid == pid

    def launch(self) -> None:
        """Start it without waiting until it is ready.

        Raises:
            ServerError: it cannot be started.
        """
        super().launch()
        self._live_s = time.monotonic()
        self._has_been_ready = False
        self._dead_since_s = None

    def is_ready(self) -> bool:
        """Whether it says that it is ready to serve, and its engines are there and awake."""
        process = self._process
        ready = super().is_ready() and process is not None and all_serve(run_folder(process.pid))
        self._has_been_ready |= ready
        self._has_ever_been_ready |= ready
        return ready

    def note_workers(self) -> None:
        """Note the model processes that have been started; to be called until it is ready, and once more then."""
        self.workers.look()

    def trouble(self) -> str | None:
        """Why it cannot go on: it has ended, or a model process has died; None when it can."""
        if (status := self.poll()) is not None:
            return f"the server ended by itself with status {status}"
        if not (dead := self.workers.dead()):
            return None
        if not (self._has_been_ready or self.is_ready()):  # its model may have failed to load: Triton ends by itself
            now_s = time.monotonic()
            self._dead_since_s = self._dead_since_s or now_s
            if now_s - self._dead_since_s < _LAST_WORDS_S:
                return None
        return f"the model process of {', '.join(dead)} died"

    def hangs(self) -> bool:
        """Whether it has not responded for 30 s, though it was ready; to be called every few seconds."""
        # Not longer: the caller is to notice a dead model process within two seconds.
        if responds(f"http://{self.http_url}/v2/health/live", timeout_s=1.0):
            self._live_s = time.monotonic()
        return time.monotonic() - self._live_s > _LIVE_TIMEOUT_S

    def stop(self) -> int | None:
        """Drain and end it, with everything it started; its exit status. Safe to call twice."""
        process = self._process
        try:
            if process is not None and process.poll() is None:
                drained = self._drain(process)
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(self._exit_timeout_s if drained else _CUT_OFF_S)
        finally:  # also when Ctrl-C interrupts the drain
            self.kill()
        return None if process is None else process.returncode

    def kill(self) -> None:
        """End it at once, with everything it started: the connections of requests under way break."""
        process, self._process = self._process, None
        if process is not None:
            self._clean_up(process)
        self._remove_run_folder()

    def _drain(self, process: subprocess.Popen[bytes]) -> bool:
        """Have it refuse new requests and finish those under way; whether all are finished in time."""
        folder = run_folder(process.pid)
        if not folder.exists():  # not one of our models runs
            return True
        begin_drain(folder)
        deadline_s = time.monotonic() + self._drain_timeout_s
        quiet = 0
        while process.poll() is None and time.monotonic() < deadline_s:
            quiet = quiet + 1 if open_requests(folder) == 0 else 0
            if quiet == _QUIET_POLLS:
                break
            time.sleep(_DRAIN_POLL_S)
        return quiet == _QUIET_POLLS

    def _clean_up(self, process: subprocess.Popen[bytes]) -> None:
        # The server leads its own process group: model processes that outlived it go with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        _reap(process.pid)
        for segment in _SHM_FOLDER.glob(self.shm_prefix + "*"):
            segment.unlink(missing_ok=True)
        remove_stale_run_folders()  # its own
        self._workers = None

    def _remove_run_folder(self) -> None:
        if self._run_folder is not None:
            shutil.rmtree(self._run_folder, ignore_errors=True)
            self._run_folder = None

    def _start(self) -> None:
        self._choose_ports()
        _remove_stale_segments()
        self._run_folder = Path(tempfile.mkdtemp(prefix="imagegen-", dir=temporary_folder()))
        repository = stage_repository(self._repository, self._run_folder / "repository", self._staged_parameters())
        program = self.program(self._run_folder)
        environment = triton_environment(self.environment())
        if self._known_options is None:  # of a server that is started again they are known
            self._known_options = known_options(program[0], environment)
        command = [
            *program,
            f"--model-repository={repository}",
            f"--backend-config=python,shm-region-prefix-name={self.shm_prefix}",
            *triton_arguments(exit_timeout_s=_EXIT_TIMEOUT_S, known=self._known_options),
        ]
        # Model processes that outlive the server become our children, to be reaped by us: not every init does it.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._launch(command, environment)

    def _staged_parameters(self) -> dict[str, str]:
        """Those of a first start, or of another one on the same machine: only what is compiled is warmed up again."""
        compiles = self._parameters.get("diffusion.compile", "off").lower() not in ("off", "false")
        if self._has_ever_been_ready and not compiles and (self._repository / "diffusion").exists():
            return self._parameters | {"diffusion.warmup_sizes": "none"}
        return self._parameters

    @abstractmethod
    def _choose_ports(self) -> None:
        """Set `http_port` and the others; the same ones when it is started again."""

    @abstractmethod
    def program(self, run_folder: Path) -> list[str]:
        """The program and the arguments that only this kind of deployment has."""

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """The variables it runs with."""

    @property
    def _ready_url(self) -> str:
        return f"http://{self.http_url}/v2/health/ready"

    def reason(self) -> str:
        """The model's own error message from the log, else the log's last lines."""
        if self._inherit_output:
            return "its log, above, says why"
        text = self.log_file.read_text(errors="replace")
        loading = r"failed to load (?:model )?'([^']+)'(?: version \d+)?: (.*?)(?=\n[EIW]\d{4} |\Z)"
        failures = re.findall(loading, text, re.DOTALL)
        if failures:
            return "; ".join(f"model {model}: {_one_line(message)}" for model, message in failures)
        errors = re.findall(r"^E\d{4} [^\]]*\] (.*)$", text, re.MULTILINE)
        return " · ".join(errors[-3:] or text.splitlines()[-5:]) + f" (log: {self.log_file})"


def _one_line(message: str) -> str:
    """What a model raised, without the trace and the escapes that the python backend puts around it."""
    said, _, _ = message.replace("\\n", "\n").partition("\n\nAt:\n")
    return " ".join(said.replace('\\"', '"').split())


def _remove_stale_segments() -> None:
    """Remove the shared memory of launchers that were killed outright and could not do it themselves."""
    for segment in _SHM_FOLDER.glob("imagegen_*_*"):
        launcher = segment.name.split("_")[1]
        if launcher.isdecimal() and not Path("/proc", launcher).exists():
            segment.unlink(missing_ok=True)


def _reap(process_group: int) -> None:
    """Wait for the children of ours that are in the group; all have been killed."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-process_group, 0)
