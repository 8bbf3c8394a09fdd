"""LitServe with batching, as its documentation sets it up: `predict` gets a batch and draws equal requests together.

LitServe answers a batch when all of it is drawn.
"""

import os
from typing import Any

import litserve
from fastapi import Response

from perf.peers.drawing import MAX_BATCH, MAX_DELAY_S, PORT, DrawRequest, PeerPipeline


class DrawAPI(litserve.LitAPI):
    """Prompt and parameters as JSON in, a PNG file out."""

    def setup(self, device: str) -> None:
        """Load the checkpoint in the worker process."""
        self._pipeline = PeerPipeline()

    def decode_request(self, request: dict[str, Any]) -> DrawRequest:
        """From JSON."""
        return DrawRequest(**request)

    def batch(self, inputs: list[DrawRequest]) -> list[DrawRequest]:
        """As they are: they are grouped where they are drawn."""
        return inputs

    def predict(self, x: list[DrawRequest]) -> list[bytes]:
        """Draw a batch."""
        return self._pipeline.draw_batch(x)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        """One file each."""
        return output

    def encode_response(self, output: bytes) -> Response:
        """The file itself."""
        return Response(output, media_type="image/png")


if __name__ == "__main__":
    api = DrawAPI(max_batch_size=MAX_BATCH, batch_timeout=MAX_DELAY_S, api_path="/draw")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=False)
    server.run(host="127.0.0.1", port=int(os.environ[PORT]), generate_client_file=False, log_level="warning")
