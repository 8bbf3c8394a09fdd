"""The `tritonserver` that is installed in a container, on every address and with its output among ours."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from imagegen.launch.triton_server import TritonServer


class InstalledServer(TritonServer):
    """Starts on entering the context, ready to serve; see TritonServer.

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
            drain_timeout_s=drain_timeout_s,
            log_file=None,
            ready_timeout_s=ready_timeout_s,
            inherit_output=True,
        )
        self.http_port = http_port
        ports = [f"--http-port={http_port}", f"--grpc-port={grpc_port}", f"--metrics-port={metrics_port}"]
        self._command = [program, *ports, *further]

    def _choose_ports(self) -> None:
        """Nothing is to be chosen: the ports are given."""

    def program(self, run_folder: Path) -> list[str]:
        """The program and the arguments that only this kind of deployment has."""
        return self._command

    def environment(self) -> dict[str, str]:
        """The variables it runs with."""
        return dict(os.environ)
