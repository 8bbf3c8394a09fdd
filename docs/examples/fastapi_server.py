"""A server of one's own: requests share denoiser steps, and a client that disconnects frees its slot within one step.

Run `python docs/examples/fastapi_server.py CHECKPOINT PORT` and POST JSON with a prompt to /generate.
"""

import asyncio
import io
import sys

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from PIL import Image
from pydantic import BaseModel

from imagegen.api.errors import ImageGenError
from imagegen.engine import Engine, GenerationResult


class GenerateRequest(BaseModel):
    """What a client may ask for; the model decides what is left out."""

    prompt: str
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    size: str | None = None


def create_app(engine: Engine) -> FastAPI:
    """The server, with one route: POST /generate gives a PNG image."""
    app = FastAPI()

    @app.post("/generate")
    async def generate(body: GenerateRequest, request: Request) -> Response:
        generation = asyncio.create_task(engine.generate_async(**body.model_dump()))
        disconnect = asyncio.ensure_future(request.receive())  # the body has been read: what comes is the disconnect
        await asyncio.wait({generation, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        disconnect.cancel()
        if not generation.done():
            generation.cancel()
            return Response(status_code=499)
        try:
            return Response(await asyncio.to_thread(encode_png, generation.result()), media_type="image/png")
        except ImageGenError as error:
            raise HTTPException(error.http_status, str(error)) from error

    return app


def encode_png(result: GenerationResult) -> bytes:
    """The first image as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(result.frames[0]).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


if __name__ == "__main__":
    with Engine.load(sys.argv[1]) as loaded:
        uvicorn.run(create_app(loaded), port=int(sys.argv[2]), log_level="warning")
