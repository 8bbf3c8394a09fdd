"""This project's engine as a library in FastAPI: the documentation's example, set up as everybody else is."""

from __future__ import annotations

import os

import uvicorn

from docs.examples.fastapi_server import create_app
from imagegen.engine import Engine
from perf.baselines.generate import CHECKPOINT, PORT

if __name__ == "__main__":
    with Engine.load(
        os.environ[CHECKPOINT], dtype="float32", cpu_threads=1, prompt_cache_bytes=0, image_cache_bytes=0
    ) as engine:
        uvicorn.run(create_app(engine), host="127.0.0.1", port=int(os.environ[PORT]), log_level="warning")
