"""BentoML with adaptive batching: `batchable=True`, a list in and a list out, as its documentation has it."""

from __future__ import annotations

import base64

import bentoml
from pydantic import BaseModel

from perf.peers.drawing import MAX_BATCH, DrawRequest, PeerPipeline


class Body(BaseModel):
    """One request; the fields are those of `DrawRequest`."""

    prompt: str
    num_inference_steps: int
    guidance_scale: float
    seed: int


@bentoml.service(workers=1, threads=1, traffic={"timeout": 120, "max_concurrency": 1000})
class Draw:
    """Prompt and parameters as JSON in, PNG files in base64 out."""

    def __init__(self) -> None:
        self._pipeline = PeerPipeline()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, route="/draw")
    def draw(self, requests: list[Body]) -> list[str]:
        """Draw a batch; BentoML answers all of it together."""
        files = self._pipeline.draw_batch([DrawRequest(**request.model_dump()) for request in requests])
        return [base64.b64encode(file).decode() for file in files]
