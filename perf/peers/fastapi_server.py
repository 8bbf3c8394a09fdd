"""FastAPI and diffusers, the usual hand-made server: one pipeline behind a lock, requests in FastAPI's thread pool."""

from __future__ import annotations

import os
import threading
from typing import Any

import uvicorn
from fastapi import FastAPI, Response

from perf.peers.drawing import PORT, DrawRequest, PeerPipeline, encode_png

app = FastAPI()
_pipeline = PeerPipeline()
_one_at_a_time = threading.Lock()  # pipelines are not made for several threads


@app.get("/health")
def health() -> str:
    """It serves once it has loaded."""
    return "ok"


@app.post("/draw")
def draw(values: dict[str, Any]) -> Response:
    """Draw one image. Not a coroutine, so FastAPI runs it in a thread, which leaves its event loop free."""
    with _one_at_a_time:
        [image] = _pipeline.draw([DrawRequest(**values)])
    return Response(encode_png(image), media_type="image/png")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ[PORT]), log_level="warning")
