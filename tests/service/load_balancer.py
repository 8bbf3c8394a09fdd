"""nginx with the project's own configuration before servers on loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.ports import free_ports
from tests.service.server_metrics import wait_until

CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy" / "nginx.conf"
NGINX = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")


class LoadBalancer:
    """A running nginx.

    Args:
        folder: its prefix.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        ports = tuple(free_ports({"HTTP": 0, "gRPC": 0}).values())
        self.http_url, self.grpc_url = (f"127.0.0.1:{port}" for port in ports)
        text = CONFIGURATION.read_text()
        for listed, url in (("listen 8000;", self.http_url), ("listen 8001 http2;", self.grpc_url)):
            assert listed in text
            text = text.replace(listed, listed.replace(listed.split()[1].rstrip(";"), url))
        (folder / "nginx.conf").write_text(text)
        for name in ("servers", "tmp"):
            (folder / name).mkdir()

    def command(self, *further: str) -> list[str]:
        assert NGINX is not None
        own = ["-g", "daemon off; user root;" if os.getuid() == 0 else "daemon off;"]
        return [NGINX, "-p", str(self._folder), "-c", "nginx.conf", "-e", "stderr", *own, *further]

    def use(self, *servers: EmbeddedServer) -> None:
        """Balance over these from the next reload on."""
        for name, urls in (("http", [s.http_url for s in servers]), ("grpc", [s.grpc_url for s in servers])):
            lines = [f"server {url} max_fails=1 fail_timeout=2s;" for url in urls]
            (self._folder / "servers" / f"{name}.conf").write_text("\n".join(lines))

    def reload(self) -> None:
        """Have it read its configuration anew; when this returns, what is new goes the new way."""
        old = self._workers()
        subprocess.run(self.command("-s", "reload"), check=True, capture_output=True)
        wait_until(lambda: all(not worker.is_running() or "shutting down" in _title(worker) for worker in old))

    def _workers(self) -> list[psutil.Process]:
        master = psutil.Process(int((self._folder / "nginx.pid").read_text()))
        return [child for child in master.children() if "shutting down" not in _title(child)]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return "shutting down"


@contextmanager
def load_balancer(folder: Path, servers: Sequence[EmbeddedServer]) -> Iterator[LoadBalancer]:
    """Run nginx before `servers`; `folder` is empty."""
    balancer = LoadBalancer(folder)
    balancer.use(*servers)
    with (folder / "log").open("wb") as log, subprocess.Popen(balancer.command(), stderr=log) as process:
        try:
            wait_until((folder / "nginx.pid").exists)
            yield balancer
        finally:
            process.terminate()
