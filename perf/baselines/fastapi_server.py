"""FastAPI and diffusers, the usual hand-made server: one pipeline behind a lock, requests in FastAPI's thread pool."""

from __future__ import annotations

import os
import threading
from typing import Any

import uvicorn
from fastapi import FastAPI, Response

from perf.baselines.generate import PORT, BaselinePipeline, GenerateRequest, encode_png

app = FastAPI()
_pipeline = BaselinePipeline()
_one_at_a_time = threading.Lock()  # pipelines are not made for several threads


@app.get("/health")
def health() -> str:
    """It serves once it has loaded."""
    return "ok"


@app.post("/generate")
def generate(values: dict[str, Any]) -> Response:
    """One image. Not a coroutine, so FastAPI runs it in a thread, which leaves its event loop free."""
    with _one_at_a_time:
        [image] = _pipeline.generate([GenerateRequest(**values)])
    return Response(encode_png(image), media_type="image/png")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ[PORT]), log_level="warning")
