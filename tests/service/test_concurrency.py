"""Many requests of every kind at once: each gets its own response."""

from __future__ import annotations

import asyncio
import io
import random
from typing import Any

from PIL import Image

from imagegen.launch.embedded_server import EmbeddedServer
from imagegen_client import AsyncImageClient


def test_64_mixed_requests_get_their_own_n_and_size(server: EmbeddedServer, scene_png: bytes, mask_png: bytes) -> None:
    dice = random.Random(64)

    def arguments(index: int) -> dict[str, Any]:
        chosen: dict[str, Any] = {
            "prompt": f"image {index}",
            "n": dice.choice((1, 1, 2, 3)),
            "size": dice.choice(("64x64", "96x64", "64x128")),
            "num_inference_steps": dice.choice((2, 4, 9)),
            "guidance_scale": dice.choice((0.0, 1.0, 7.5)),
            "seed": 1000 * index,
        }
        if index % 3:
            chosen["image"] = scene_png
        if index % 3 == 2:
            chosen["mask"] = mask_png
        return chosen

    requests = [arguments(index) for index in range(64)]

    async def all_at_once() -> list[Any]:
        async with AsyncImageClient(server.grpc_url) as client:
            return await asyncio.gather(*(client.generate(**chosen) for chosen in requests))

    for chosen, result in zip(requests, asyncio.run(all_at_once()), strict=True):
        assert result.seeds == tuple(chosen["seed"] + image for image in range(chosen["n"]))
        assert result.metadata["num_inference_steps"] == chosen["num_inference_steps"]
        for image in result.images:
            with Image.open(io.BytesIO(image)) as opened:
                assert "{}x{}".format(*opened.size) == chosen["size"]


def test_requests_share_forwards(server: EmbeddedServer) -> None:
    async def all_at_once() -> list[Any]:
        async with AsyncImageClient(server.grpc_url) as client:
            calls = (client.generate("x", num_inference_steps=40, guidance_scale=g) for g in (1.0, 3.0, 5.0, 7.5))
            return await asyncio.gather(*calls)

    results = asyncio.run(all_at_once())
    rows = [result.metadata["mean_batch_rows"] for result in results]
    assert min(rows) > 2.5, rows  # alone, an image has 1 row without guidance and 2 with it
