"""This project's own server, set up so that it does the same work as a plain pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY, other_checkpoint


def own_server(
    checkpoint: Path,
    caches: bool = False,
    more: Mapping[str, str] | None = None,
    repository: Path = MODEL_REPOSITORY,
) -> EmbeddedServer:
    """A server on loopback with one torch thread in float32, to be entered as a context.

    Args:
        checkpoint: folder of a diffusers checkpoint.
        caches: whether prompts and input images are cached, as in production.
        more: further parameters, `{"model.parameter": value}`.
        repository: the model repository, or a copy of it with something added.

    Raises:
        ServerError: on entering, when it does not start.
    """
    parameters = other_checkpoint(str(checkpoint)) | {"diffusion.dtype": "float32", "diffusion.cpu_threads": "1"}
    if not caches:
        parameters |= {"diffusion.prompt_cache_bytes": "0", "diffusion.image_cache_bytes": "0"}
    return EmbeddedServer(repository, parameters=parameters | dict(more or {}))
