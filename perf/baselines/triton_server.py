"""Plain Triton as a baseline: the same server program with a model that leaves batching to Triton."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from imagegen.launch.embedded_server import EmbeddedServer
from perf.baselines.client import Baseline, BaselineClient
from perf.baselines.server import BATCHES, COMPILED_TIMEOUT_S

NAME = "triton"

_REPOSITORY = Path(__file__).resolve().parent / "triton_repository"


def _image_of_json(body: bytes) -> bytes:
    return base64.b64decode(json.loads(body)["generated_image"], validate=True)


PLAIN_TRITON = Baseline(
    "plain Triton",
    f"plain Triton, a python model with `dynamic_batching`: {BATCHES}",
    generate_path="/v2/models/dynamic_batching/generate",
    image=_image_of_json,
)


class PlainTritonServer(EmbeddedServer):
    """As `BaselineServer`, without an environment of its own.

    Args:
        checkpoint: folder of a diffusers checkpoint.
        compiled_px: side of the images for which torch.compile is used; None where it is not.

    Raises:
        ServerError: on entering, when it does not get ready.
    """

    def __init__(self, checkpoint: Path, compiled_px: int | None = None) -> None:
        parameters = {"dynamic_batching.model": str(checkpoint)}
        if compiled_px is not None:
            parameters["dynamic_batching.compiled_px"] = str(compiled_px)
        super().__init__(_REPOSITORY, parameters=parameters, ready_timeout_s=COMPILED_TIMEOUT_S)

    def client(self) -> BaselineClient:
        """A client of it."""
        return BaselineClient(f"http://{self.http_url}", PLAIN_TRITON)
