"""LitServe with batching, as its documentation sets it up: `predict` gets a batch.

LitServe responds to a batch when all of it is generated.
"""

import os
from typing import Any

import litserve
from fastapi import Response

from perf.baselines.generate import MAX_BATCH, MAX_DELAY_S, PORT, BaselinePipeline, GenerateRequest


class GenerateAPI(litserve.LitAPI):
    """Prompt and parameters as JSON in, a PNG file out."""

    def setup(self, device: str) -> None:
        """Load the checkpoint in the worker process."""
        self._pipeline = BaselinePipeline()

    def decode_request(self, request: dict[str, Any]) -> GenerateRequest:
        """From JSON."""
        return GenerateRequest(**request)

    def batch(self, inputs: list[GenerateRequest]) -> list[GenerateRequest]:
        """As they are: the pipeline groups equal ones."""
        return inputs

    def predict(self, x: list[GenerateRequest]) -> list[bytes]:
        """The PNG files of a batch."""
        return self._pipeline.generate_batch(x)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        """One file each."""
        return output

    def encode_response(self, output: bytes) -> Response:
        """The file itself."""
        return Response(output, media_type="image/png")


if __name__ == "__main__":
    api = GenerateAPI(max_batch_size=MAX_BATCH, batch_timeout=MAX_DELAY_S, api_path="/generate")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=False)
    server.run(host="127.0.0.1", port=int(os.environ[PORT]), generate_client_file=False, log_level="warning")
