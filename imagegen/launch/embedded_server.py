"""A real Triton Inference Server from the PyPI wheel `nvidia-pytriton`, run as a child process on loopback.

For demos, tests, benchmarks and development. The wheel holds release 24.10, which lacks later security
fixes: never expose it; production runs the official container with the same model repository.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import signal
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from imagegen.file_names import is_plain
from imagegen.launch.child_process import HOST, ServerError, responds
from imagegen.launch.ports import free_ports
from imagegen.launch.triton_server import TritonServer

_MOST_ABORTS = 2
_DRAIN_TIMEOUT_S = 6.0  # the whole stop stays under 10 s

_log = logging.getLogger(__name__)


class EmbeddedServer(TritonServer):
    """Starts on entering the context, ready to serve; leaves no process, stub or shared memory behind.

    Args:
        repository: the model repository.
        parameters: `{"model.parameter": value}`, set over those in the `config.pbtxt` files.
        http_port, grpc_port, metrics_port: 0 picks a free one.
        log_file: where the server's output goes; None for a temporary file, kept when the context ends with an error.
        drain_timeout_s: how long requests under way may take to finish when it is ended.
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
        drain_timeout_s: float = _DRAIN_TIMEOUT_S,
        ready_timeout_s: float = 600.0,
    ) -> None:
        super().__init__(
            repository,
            parameters=parameters,
            drain_timeout_s=drain_timeout_s,
            log_file=log_file,
            ready_timeout_s=ready_timeout_s,
        )
        self._python_folder = Path(sys.executable).parent
        self._aborts = 0
        self._ports = {"http": http_port, "grpc": grpc_port, "metrics": metrics_port}
        self.http_port = self.grpc_port = self.metrics_port = 0

    @property
    def grpc_url(self) -> str:
        """`host:port`, as tritonclient wants it."""
        return f"{HOST}:{self.grpc_port}"

    @property
    def metrics_url(self) -> str:
        """The Prometheus endpoint."""
        return f"http://{HOST}:{self.metrics_port}/metrics"

    def is_ready(self) -> bool:
        """Whether it says that it is ready to serve, and tells its metrics, which Triton begins with last."""
        return super().is_ready() and responds(self.metrics_url)

    def has_started(self) -> bool:
        """As `ChildProcess.has_started`; one that aborts while it starts is started again, twice at most.

        Release 24.10 does so now and then on a busy machine, in Boost's locks of shared memory (lock_exception), before
        any model has come far. A model that cannot be loaded ends it with a status instead.
        """
        if self._aborts < _MOST_ABORTS and self.poll() == -signal.SIGABRT:
            self._aborts += 1
            _log.warning("tritonserver aborted while starting; it is started again (log: %s)", self.log_file)
            self.kill()
            self.launch()
            return False
        return super().has_started()

    def _choose_ports(self) -> None:
        self._ports = free_ports(self._ports)
        self.http_port, self.grpc_port, self.metrics_port = self._ports.values()

    def program(self, run_folder: Path) -> list[str]:
        """The program and the arguments that only this kind of deployment has."""
        wheel = _wheel_folder()
        self._python_folder = _python_folder(run_folder)
        return [
            str(wheel / "tritonserver" / "bin" / "tritonserver"),
            f"--backend-directory={_prepare_backends(wheel, run_folder / 'backends')}",
            f"--http-address={HOST}",
            f"--http-port={self.http_port}",
            f"--grpc-address={HOST}",
            f"--grpc-port={self.grpc_port}",
            f"--metrics-address={HOST}",
            f"--metrics-port={self.metrics_port}",
        ]

    def environment(self) -> dict[str, str]:
        """The variables it runs with."""
        wheel = _wheel_folder()
        environment = dict(os.environ)
        libraries = [wheel.parent / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR")]
        inherited = environment.get("LD_LIBRARY_PATH")
        environment["LD_LIBRARY_PATH"] = ":".join([*map(str, libraries), *([inherited] if inherited else [])])
        # The stub embeds Python and takes its environment from the first `python3` on the path.
        environment["PATH"] = f"{self._python_folder}:{environment.get('PATH', '')}"
        return environment


def _wheel_folder() -> Path:
    """The folder of the `pytriton` package; found, not imported, since only its binaries are wanted."""
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise ServerError(
            "no tritonserver here: the package nvidia-pytriton is not installed; imagegen-triton[serve] has it"
        )
    return Path(spec.origin).parent


def _python_folder(run_folder: Path) -> Path:
    """The folder of our Python by a name that the python backend and torch can open."""
    executable = Path(sys.executable)
    prefix = Path(sys.prefix)
    if is_plain(prefix) or prefix not in executable.parents:
        return executable.parent
    link = run_folder / "environment"
    link.symlink_to(prefix, target_is_directory=True)
    return link / executable.parent.relative_to(prefix)


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
