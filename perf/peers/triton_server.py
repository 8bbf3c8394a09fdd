"""Plain Triton as a peer: the same server program with a model that leaves batching to Triton."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from imagegen.launch.embedded_server import EmbeddedServer
from perf.peers.server import BATCHES, Peer, PeerClient

NAME = "triton"

_REPOSITORY = Path(__file__).resolve().parent / "triton_repository"


def _image_of_json(answer: bytes) -> bytes:
    return base64.b64decode(json.loads(answer)["generated_image"], validate=True)


PEER = Peer(
    f"plain Triton, a python model with `dynamic_batching`: {BATCHES}",
    draw_path="/v2/models/dynamic_batching/generate",
    image=_image_of_json,
)


class PlainTritonServer(EmbeddedServer):
    """As `PeerServer`, without an environment of its own.

    Args:
        checkpoint: folder of a diffusers checkpoint.
        side_px: width and height of the images.

    Raises:
        ServerError: on entering, when it does not get ready.
    """

    def __init__(self, checkpoint: Path, side_px: int) -> None:
        setup = {"dynamic_batching.model": str(checkpoint), "dynamic_batching.side_px": str(side_px)}
        super().__init__(_REPOSITORY, parameters=setup)

    def client(self) -> PeerClient:
        """A client of it."""
        return PeerClient(f"http://{self.http_url}", PEER)
