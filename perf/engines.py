"""The engines under test, each a Triton server of its own on loopback. One that waits costs nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY, other_checkpoint

HUB = "hub"
SERIAL = "serial"
STATIC = "static"

ENGINES = {
    HUB: "step-level batching, as configured in the repository",
    SERIAL: "the same engine with one request at a time, first come first served",
    STATIC: "requests of equal step count drawn together (8 at most, 10 ms of waiting), as one pipeline call",
}

_STATIC_REPOSITORY = Path(__file__).resolve().parent / "static_batching"


@dataclass(frozen=True)
class Engine:
    """A server that runs.

    Attributes:
        grpc_url, http_url: `host:port` of its endpoints.
        model: the name of the model to call.
    """

    grpc_url: str
    http_url: str
    model: str


@contextmanager
def running_engines(
    checkpoint: Path, device: str, names: Sequence[str] = tuple(ENGINES), side_px: int | None = None
) -> Iterator[dict[str, Engine]]:
    """Start servers of `ENGINES` and end them.

    Args:
        checkpoint: folder of a diffusers checkpoint.
        device: a torch device, for all of them.
        names: which of them.
        side_px: width and height of their images; None for the checkpoint's own.

    Raises:
        ServerError: one did not start.
    """
    side = "" if side_px is None else str(side_px)
    ours = engine_parameters(checkpoint, device) | ({"diffusion.native_size_px": f"{side},{side}"} if side else {})
    setups = {
        HUB: (MODEL_REPOSITORY, ours, "image_generation"),
        SERIAL: (MODEL_REPOSITORY, ours | {"diffusion.max_active_requests": "1"}, "image_generation"),
        STATIC: (
            _STATIC_REPOSITORY,
            {
                "static_batching.model": str(checkpoint),
                "static_batching.device": device,
                "static_batching.side_px": side,
            },
            "static_batching",
        ),
    }
    # The pool outlives the servers: Linux ends a server as soon as the thread that started it is gone.
    with ThreadPoolExecutor(len(setups)) as pool, ExitStack() as servers:
        made = {
            name: EmbeddedServer(repository, parameters=parameters)
            for name, (repository, parameters, _) in setups.items()
            if name in names
        }
        starts = []
        for server in made.values():
            servers.callback(server.stop)
            starts.append(pool.submit(server.__enter__))
        for start in starts:
            start.result()
        yield {name: Engine(server.grpc_url, server.http_url, setups[name][2]) for name, server in made.items()}


def engine_parameters(checkpoint: Path, device: str) -> dict[str, str]:
    """Parameters that make this repository's engine do the same work as a plain pipeline: one thread, no caches."""
    return {
        **other_checkpoint(str(checkpoint)),
        "diffusion.device": device,
        "diffusion.dtype": "float32",
        "diffusion.cpu_threads": "1",
        "diffusion.prompt_cache_bytes": "0",
        "diffusion.image_cache_bytes": "0",
    }
