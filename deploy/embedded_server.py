"""A real Triton Inference Server from the PyPI wheel `nvidia-pytriton`, run as a child process on loopback.

For demos, tests, benchmarks and development. The wheel holds release 24.10, which lacks later security
fixes: never expose it; production runs the official container with the same model repository.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path

from deploy.child_process import HOST, ChildProcess, ServerError, free_port
from deploy.repository import stage_repository
from deploy.triton_options import EMBEDDED_RELEASE, PARAMETERS, triton_arguments, triton_environment
from imagegen.run_folder import remove_stale_run_folders

_EXIT_TIMEOUT_S = 6  # in-flight requests get this long; the whole stop stays under 10 s
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_SHM_FOLDER = Path("/dev/shm")


class EmbeddedServer(ChildProcess):
    """Starts on entering the context, ready to serve; leaves no process, stub or shared memory behind.

    Args:
        repository: the model repository.
        parameters: `{"model.parameter": value}`, set over those in the `config.pbtxt` files.
        http_port, grpc_port, metrics_port: 0 picks a free one.
        log_file: where the server's output goes; None for a temporary file, kept when the context ends with an error.
        ready_timeout_s: longest wait for every model to be loaded and warm.

    Raises:
        ServerError: on entering, when a port is busy, a model fails to load or the server does not get ready.
    """

    def __init__(
        self,
        repository: Path,
        *,
        parameters: Mapping[str, str] | None = None,
        http_port: int = 0,
        grpc_port: int = 0,
        metrics_port: int = 0,
        log_file: Path | None = None,
        ready_timeout_s: float = 600.0,
    ) -> None:
        super().__init__("tritonserver", log_file=log_file, ready_timeout_s=ready_timeout_s)
        self._repository = repository
        self._parameters = dict(parameters or {})
        if (repository / "diffusion").exists():
            self._parameters = PARAMETERS | self._parameters
        self._requested_ports = {"http": http_port, "grpc": grpc_port, "metrics": metrics_port}
        self._run_folder: Path | None = None
        self._shm_prefix = f"imagegen_{os.getpid()}_{id(self):x}_"
        self.http_port = self.grpc_port = self.metrics_port = 0

    @property
    def http_url(self) -> str:
        """`host:port`, as tritonclient wants it."""
        return f"{HOST}:{self.http_port}"

    @property
    def grpc_url(self) -> str:
        """`host:port`, as tritonclient wants it."""
        return f"{HOST}:{self.grpc_port}"

    @property
    def metrics_url(self) -> str:
        """The Prometheus endpoint."""
        return f"http://{HOST}:{self.metrics_port}/metrics"

    def stop(self) -> int | None:
        """End the server and everything it started; its exit status. Safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_EXIT_TIMEOUT_S + 2)
            # The server leads its own process group: stubs that outlived it go with it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            _reap(process.pid)
            for segment in _SHM_FOLDER.glob(self._shm_prefix + "*"):
                segment.unlink(missing_ok=True)
            remove_stale_run_folders()  # its own, where it was killed
        if self._run_folder is not None:
            shutil.rmtree(self._run_folder, ignore_errors=True)
            self._run_folder = None
        return None if process is None else process.returncode

    def _start(self) -> None:
        ports = {name: free_port(name, port) for name, port in self._requested_ports.items()}
        self.http_port, self.grpc_port, self.metrics_port = ports["http"], ports["grpc"], ports["metrics"]
        _remove_stale_segments()
        self._run_folder = Path(tempfile.mkdtemp(prefix="imagegen-"))
        wheel = _wheel_folder()
        backends = _prepare_backends(wheel, self._run_folder / "backends")
        repository = stage_repository(self._repository, self._run_folder / "repository", self._parameters)
        command = [
            str(wheel / "tritonserver" / "bin" / "tritonserver"),
            f"--model-repository={repository}",
            f"--backend-directory={backends}",
            f"--backend-config=python,shm-region-prefix-name={self._shm_prefix}",
            f"--http-address={HOST}",
            f"--http-port={self.http_port}",
            f"--grpc-address={HOST}",
            f"--grpc-port={self.grpc_port}",
            f"--metrics-address={HOST}",
            f"--metrics-port={self.metrics_port}",
            *triton_arguments(exit_timeout_s=_EXIT_TIMEOUT_S, release=EMBEDDED_RELEASE),
        ]
        # Stubs that outlive the server become our children, to be reaped by us: not every init does it.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._launch(command, _environment(wheel))

    @property
    def _ready_url(self) -> str:
        return f"http://{self.http_url}/v2/health/ready"

    def _reason(self) -> str:
        """The model's own error message from the log, else the log's last lines."""
        text = self.log_file.read_text(errors="replace")
        loading = r"failed to load (?:model )?'([^']+)'(?: version \d+)?: (.*?)(?=\n[EIW]\d{4} |\Z)"
        failures = re.findall(loading, text, re.DOTALL)
        if failures:
            return "; ".join(f"model {model}: {' '.join(message.split())}" for model, message in failures)
        errors = re.findall(r"^E\d{4} [^\]]*\] (.*)$", text, re.MULTILINE)
        return " · ".join(errors[-3:] or text.splitlines()[-5:]) + f" (log: {self.log_file})"


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


def _wheel_folder() -> Path:
    """The folder of the `pytriton` package; found, not imported, since only its binaries are wanted."""
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise ServerError("no tritonserver here: the package nvidia-pytriton is not installed; run ./build.sh demo")
    return Path(spec.origin).parent


def _prepare_backends(wheel: Path, folder: Path) -> Path:
    """A private backend folder with the stub that matches the running Python."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = wheel / "tritonserver" / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        raise ServerError(f"the server has no python backend for Python {version}; use 3.10 to 3.12")
    python_backend = folder / "python"
    python_backend.mkdir(parents=True)
    for source in (wheel / "tritonserver" / "backends" / "python").glob("*[yo]"):
        shutil.copy(source, python_backend)
    shutil.copy(stub, python_backend)
    (python_backend / stub.name).chmod(0o755)
    return folder


def _environment(wheel: Path) -> dict[str, str]:
    environment = dict(os.environ)
    libraries = [wheel.parent / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR")]
    inherited = environment.get("LD_LIBRARY_PATH")
    environment["LD_LIBRARY_PATH"] = ":".join([*map(str, libraries), *([inherited] if inherited else [])])
    # The stub embeds Python and takes its environment from the first `python3` on the path.
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment.get('PATH', '')}"
    return triton_environment(environment)
