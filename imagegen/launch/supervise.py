"""`python -m imagegen.launch.supervise`: the installed `tritonserver`, supervised; a container's first process.

It starts the server again when a model process dies, answers probes (see `deploy.status_endpoint`), and on TERM lets
requests under way finish while new ones are refused with 503; status 0.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import psutil

from imagegen.launch.child_process import ServerError
from imagegen.launch.staging import add_parameters
from imagegen.launch.status_endpoint import status_endpoint
from imagegen.launch.supervisor import TICK_S, Supervisor
from imagegen.launch.triton_options import installed_release
from imagegen.launch.triton_server import TritonServer

_SHM_FOLDER = Path("/dev/shm")


class InstalledServer(TritonServer):
    """The `tritonserver` of the container, on every address, its output with ours.

    Args:
        program: `tritonserver`.
        repository: the model repository.
        parameters: `{"model.parameter": value}`, set over those in the `config.pbtxt` files.
        further: arguments for it on top of `imagegen.launch.triton_options`.
        http_port, grpc_port, metrics_port: to listen on.
        drain_timeout_s: how long requests under way may take to finish when it is ended.
        ready_timeout_s: longest wait for every model to be loaded and warm.
    """

    def __init__(
        self,
        program: str,
        repository: Path,
        *,
        parameters: Mapping[str, str],
        further: Sequence[str],
        http_port: int,
        grpc_port: int,
        metrics_port: int,
        drain_timeout_s: float,
        ready_timeout_s: float,
    ) -> None:
        super().__init__(
            repository,
            parameters=parameters,
            release=installed_release(),
            drain_timeout_s=drain_timeout_s,
            log_file=None,
            ready_timeout_s=ready_timeout_s,
            inherit_output=True,
        )
        self.http_port = http_port
        ports = [f"--http-port={http_port}", f"--grpc-port={grpc_port}", f"--metrics-port={metrics_port}"]
        self._command = [program, *ports, *further]

    def _choose_ports(self) -> None:
        """They are given."""

    def program(self, run_folder: Path) -> list[str]:
        """The program and the arguments that only this kind of deployment has."""
        return self._command

    def environment(self) -> dict[str, str]:
        """The variables it runs with."""
        return dict(os.environ)


class _Ended(BaseException):
    """TERM or Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; the exit status."""
    given = _parse(arguments)
    program = shutil.which(given.tritonserver)
    if program is None:
        print(f"supervise: there is no {given.tritonserver}", file=sys.stderr)
        return 1
    server = InstalledServer(
        program,
        given.model_repository,
        parameters=dict(given.set),
        further=given.further,
        http_port=given.http_port,
        grpc_port=given.grpc_port,
        metrics_port=given.metrics_port,
        drain_timeout_s=given.drain_timeout_s,
        ready_timeout_s=given.ready_timeout_s,
    )
    supervisor = Supervisor(server, lambda text: print(f"supervise: {text}", file=sys.stderr, flush=True))
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, _end)
    _remove_segments_of_the_last_one()
    try:
        with status_endpoint(supervisor, server, given.status_address, given.status_port):
            try:
                supervisor.start()
                while True:
                    supervisor.tick()
                    _reap_orphans(server)
                    time.sleep(TICK_S)
            except _Ended:
                for ending in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(ending, signal.SIG_IGN)  # once is enough
                supervisor.drain()
                server.stop()
                return 0
    except (ServerError, ValueError, OSError) as error:
        print(f"supervise: {error}", file=sys.stderr)
        return 1
    finally:
        server.kill()


def _end(*_: object) -> NoReturn:
    raise _Ended


def _remove_segments_of_the_last_one() -> None:
    """As a container's first process we have the id that our predecessor had; /dev/shm may be a volume that stayed."""
    if os.getpid() == 1:
        for segment in _SHM_FOLDER.glob("imagegen_1_*"):
            segment.unlink(missing_ok=True)


def _reap_orphans(server: TritonServer) -> None:
    """Processes whose parent has ended become a container's first one's, which has to take note of their end."""
    for child in psutil.Process().children():
        try:
            if not server.owns(child.pid) and child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)
        except (psutil.NoSuchProcess, ChildProcessError):
            continue


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m imagegen.launch.supervise",
        description="Run the installed tritonserver and keep it serving. What follows -- are further options for it.",
    )
    parser.add_argument("--model-repository", type=Path, default=Path("/models"), help="default /models")
    add_parameters(parser)
    parser.add_argument("--http-port", type=int, default=8000, help="default 8000")
    parser.add_argument("--grpc-port", type=int, default=8001, help="default 8001")
    parser.add_argument("--metrics-port", type=int, default=8002, help="default 8002")
    parser.add_argument("--status-address", default="0.0.0.0", help="where probes are answered; default 0.0.0.0")
    parser.add_argument("--status-port", type=int, default=8003, help="default 8003")
    parser.add_argument(
        "--drain-timeout-s", type=float, default=30.0, help="for requests under way to finish after TERM; default 30"
    )
    parser.add_argument(
        "--ready-timeout-s", type=float, default=1800.0, help="longest wait for the models to load; default 1800"
    )
    parser.add_argument("--tritonserver", default="tritonserver", help="the program; default: that on the PATH")
    parser.add_argument("further", nargs="*", help="further options of tritonserver, after --")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
