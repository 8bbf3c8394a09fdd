"""`imagegen supervise`: the installed `tritonserver`, supervised; a container's first process.

It starts the server again when a model process dies, responds to probes (see `imagegen.launch.status_endpoint`), and on
TERM lets requests under way finish while new ones are refused with 503; status 0.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

import psutil

from imagegen.launch.child_process import ServerError
from imagegen.launch.command_line import add_parameters
from imagegen.launch.installed_server import InstalledServer
from imagegen.launch.serving_loop import StopSignals, keep_serving
from imagegen.launch.status_endpoint import status_endpoint
from imagegen.launch.supervisor import Supervisor
from imagegen.launch.triton_server import TritonServer

_SHM_FOLDER = Path("/dev/shm")


def main(argv: list[str]) -> int:
    """Run the container's own tritonserver and keep it serving.

    Args:
        argv: the options; `--help` lists them.

    Returns:
        The exit status.
    """
    given = parser().parse_args(argv)
    program = shutil.which(given.tritonserver)
    if program is None:
        print(f"supervise: there is no {given.tritonserver}", file=sys.stderr)
        return 1
    stop = StopSignals()  # first: without a handler a TERM to a container's first process is lost
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
    _remove_segments_of_the_last_one()
    try:
        with status_endpoint(supervisor, server, given.status_address, given.status_port):
            keep_serving(supervisor, lambda: _reap_orphans(server), stop)
            server.stop()
        return 0
    except (ServerError, ValueError, OSError) as error:
        print(f"supervise: {error}", file=sys.stderr)
        return 1
    finally:
        server.kill()


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


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="imagegen supervise",
        description="Run the installed tritonserver and keep it serving. What follows -- are further options for it.",
    )
    parser.add_argument("--model-repository", type=Path, default=Path("/models"), help="default /models")
    add_parameters(parser)
    parser.add_argument("--http-port", type=int, default=8000, help="default 8000")
    parser.add_argument("--grpc-port", type=int, default=8001, help="default 8001")
    parser.add_argument("--metrics-port", type=int, default=8002, help="default 8002")
    parser.add_argument("--status-address", default="0.0.0.0", help="where probes get their responses; default 0.0.0.0")
    parser.add_argument("--status-port", type=int, default=8003, help="default 8003")
    parser.add_argument(
        "--drain-timeout-s", type=float, default=30.0, help="for requests under way to finish after TERM; default 30"
    )
    parser.add_argument(
        "--ready-timeout-s", type=float, default=1800.0, help="longest wait for the models to load; default 1800"
    )
    parser.add_argument("--tritonserver", default="tritonserver", help="the program; default: that on the PATH")
    parser.add_argument("further", nargs="*", help="further options of tritonserver, after --")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
