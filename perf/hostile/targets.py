"""The server under attack: this project's own with narrow limits, or one that runs already."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from imagegen.launch.embedded_frontend import EmbeddedFrontend
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY
from perf.hostile.send import Addresses
from perf.own_server import own_server
from perf.process_tree import holding, tree

BODY_TIMEOUT_S = 2.0
MAX_IMAGE_BYTES = 2_000_000
# So that what chance leaves valid costs little, and caches are full after the warm-up, as they are after a day.
_PARAMETERS = {
    "diffusion.default_num_inference_steps": "1",
    "diffusion.max_num_inference_steps": "20",
    "diffusion.max_side_px": "128",
    "diffusion.prompt_cache_bytes": "4000000",
    "diffusion.image_cache_bytes": "4000000",
    "image_preprocess.max_image_bytes": str(MAX_IMAGE_BYTES),
    "image_preprocess.url_cache_bytes": "4000000",
}
_OPTIONS: dict[str, str | list[str]] = {
    "body-timeout-s": f"{BODY_TIMEOUT_S:g}",
    "max-image-bytes": str(MAX_IMAGE_BYTES),
    "ready-within-s": "7200",
}


@dataclass(frozen=True)
class Target:
    """A running server.

    Attributes:
        addresses: of its ways.
        pids: of its processes whose memory is measured, with all that they started; empty where they are not known.
        body_timeout_s: the frontend's, where it is known.
    """

    addresses: Addresses
    pids: tuple[int, ...]
    body_timeout_s: float | None = None

    def rss_bytes(self) -> int:
        """Resident memory of all its processes."""
        return sum(holding(pid, "no shared memory").rss_bytes for pid in self.pids)

    def processes(self) -> dict[int, str]:
        """Its processes by number: a model's by its folder, others by their program."""
        return {process.pid: _name(process) for pid in self.pids for process in tree(pid)}


def ended(processes: Iterable[int]) -> list[int]:
    """Those that run no more."""
    return [pid for pid in processes if not _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        for argument in process.cmdline():
            if argument.endswith("/1/model.py"):
                return Path(argument).parents[1].name
        return process.name()
    return "unknown"


_FETCHING_MODEL = "image_preprocess"
_FETCHING = {
    "image_preprocess.allow_private_addresses": "true",
    "image_preprocess.max_image_bytes": str(MAX_IMAGE_BYTES),
    "image_preprocess.connect_timeout_s": "1",
    "image_preprocess.read_timeout_s": "1",
    "image_preprocess.fetch_timeout_s": "3",
}


@contextmanager
def _fetching_server() -> Iterator[EmbeddedServer]:
    """`image_preprocess` alone, which may fetch from loopback, and gives up soon."""
    with tempfile.TemporaryDirectory(prefix="imagegen-perf-") as folder:
        (Path(folder) / _FETCHING_MODEL).symlink_to(MODEL_REPOSITORY / _FETCHING_MODEL)
        with EmbeddedServer(Path(folder), parameters=_FETCHING) as server:
            yield server


@contextmanager
def own_target(checkpoint: Path) -> Iterator[Target]:
    """Triton, the frontend, and `image_preprocess` alone for what has to be fetched; started and ended here."""
    options = _OPTIONS | {"tokenizer": str(checkpoint)}
    with (
        _fetching_server() as fetching,
        own_server(checkpoint, caches=True, more=_PARAMETERS) as server,
        EmbeddedFrontend(server.grpc_url, options=options) as frontend,
    ):
        addresses = Addresses(frontend.url.removeprefix("http://"), server.http_url, server.grpc_url, fetching.grpc_url)
        yield Target(addresses, (server.pid, frontend.pid, fetching.pid), BODY_TIMEOUT_S)


def running_target(addresses: Addresses) -> Target:
    """A server that runs already; its memory is measured where it runs on this machine as this user."""
    ports = {int(address.rpartition(":")[2]) for address in (addresses.openai, addresses.http, addresses.grpc)}
    listening = (
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port in ports
    )
    return Target(addresses, tuple(sorted({pid for pid in listening if pid is not None})))
