"""BentoML with adaptive batching: `batchable=True`, a list in and a list out, as its documentation has it."""

from __future__ import annotations

import base64

import bentoml
from pydantic import BaseModel

from perf.baselines.generate import MAX_BATCH, BaselinePipeline, GenerateRequest


class Body(BaseModel):
    """One request; the fields are those of `GenerateRequest`."""

    prompt: str
    num_inference_steps: int
    guidance_scale: float
    seed: int
    size: str


@bentoml.service(workers=1, threads=1, traffic={"timeout": 120, "max_concurrency": 1000})
class Generate:
    """Prompt and parameters as JSON in, PNG files in base64 out."""

    def __init__(self) -> None:
        self._pipeline = BaselinePipeline()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, route="/generate")
    def generate(self, requests: list[Body]) -> list[str]:
        """The files of a batch; BentoML responds to all of it together."""
        files = self._pipeline.generate_batch([GenerateRequest(**request.model_dump()) for request in requests])
        return [base64.b64encode(file).decode() for file in files]
