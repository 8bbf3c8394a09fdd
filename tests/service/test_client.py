"""The four clients of the client package against a real server."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagegen.launch.embedded_server import EmbeddedServer
from imagegen_client import (
    EDITING,
    TASKS,
    AsyncHttpImageClient,
    AsyncImageClient,
    DeadlineExceeded,
    GenerateResult,
    HttpImageClient,
    ImageClient,
    ImageRejected,
    InvalidArgument,
    ModelDescription,
    ServerUnreachable,
    Unavailable,
)

CLIENT = Path(__file__).resolve().parents[2] / "client"
TRANSPORTS = ("grpc", "grpc-aio", "http", "http-aio")
Generate = Callable[..., GenerateResult]


def generator(transport: str, server: EmbeddedServer, **options: Any) -> Generate:
    """One of the four clients as a blocking function with the arguments of `generate`."""
    url = server.grpc_url if transport.startswith("grpc") else server.http_url

    def blocking(*args: Any, **kwargs: Any) -> GenerateResult:
        kind = ImageClient if transport == "grpc" else HttpImageClient
        with kind(url, **options) as client:
            return client.generate(*args, **kwargs)

    async def in_a_loop(*args: Any, **kwargs: Any) -> GenerateResult:
        kind = AsyncImageClient if transport == "grpc-aio" else AsyncHttpImageClient
        async with kind(url, **options) as client:
            return await client.generate(*args, **kwargs)

    return (lambda *args, **kwargs: asyncio.run(in_a_loop(*args, **kwargs))) if "aio" in transport else blocking


@pytest.fixture(params=TRANSPORTS)
def generate(request: pytest.FixtureRequest, server: EmbeddedServer) -> Generate:
    return generator(request.param, server)


@pytest.fixture
def client(server: EmbeddedServer) -> Generate:
    return generator("grpc", server)


def pixels(content: bytes) -> np.ndarray[Any, Any]:
    """uint8 [H, W, 3], as signed integers."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), dtype=np.int16)


def same_image(one: bytes, other: bytes) -> bool:
    """Equal but for the last bit, which may depend on who shared the batch."""
    return bool(np.abs(pixels(one) - pixels(other)).max() <= 1)


def test_all_clients_get_the_same_images(server: EmbeddedServer) -> None:
    results = [
        generator(transport, server)("a red circle", n=2, seed=7, num_inference_steps=2) for transport in TRANSPORTS
    ]
    for result in results:
        assert result.seeds == (7, 8)
        assert result.urls == ()
        assert result.metadata["task"] == "text-to-image"
        assert pixels(result.images[0]).shape == (128, 128, 3)
        assert all(map(same_image, result.images, results[0].images))
    assert not same_image(*results[0].images)


def test_every_argument_is_accepted(generate: Generate, scene_png: bytes, mask_png: bytes) -> None:
    result = generate(
        "ein roter Kreis ●",
        negative_prompt="",
        image=scene_png,
        mask=mask_png,
        n=2,
        size="128x128",
        num_inference_steps=2,
        guidance_scale=0,
        strength=0.5,
        scheduler="euler",
        timeout_ms=600_000,
        seed=[2**63 - 1, 0],
        output_format="webp",
        output_compression=60,
        response_format="b64_json",
        user="someone",
        priority=1,
        timeout_s=600,
    )
    assert result.seeds == (2**63 - 1, 0)
    assert [Image.open(io.BytesIO(image)).format for image in result.images] == ["WEBP", "WEBP"]
    assert result.metadata["task"] == "inpainting"
    assert result.metadata["guidance_scale"] == 0


def test_an_image_in_every_form_gives_the_same_image(
    client: Generate, scene_png: bytes, image_host: str, tmp_path: Path
) -> None:
    file = tmp_path / "scene.png"
    file.write_bytes(scene_png)
    text = base64.b64encode(scene_png).decode()
    forms = [scene_png, file, [file], text, f"data:image/png;base64,{text}", f"{image_host}/scene.png"]
    results = [client("a green square", image=form, seed=7, num_inference_steps=4) for form in forms]
    assert {result.metadata["task"] for result in results} == {"image-to-image"}
    assert all(same_image(result.images[0], results[0].images[0]) for result in results)


def test_refusals_name_the_field(generate: Generate, scene_png: bytes) -> None:
    with pytest.raises(InvalidArgument, match=r"99 is outside 1\.\.10") as refused:
        generate("x", n=99)
    assert refused.value.field == "n"
    with pytest.raises(ImageRejected) as rejected:
        generate("x", image=[scene_png, b"\x89PNG\r\n\x1a\nnot an image"])
    assert rejected.value.field == "image[1]"
    with pytest.raises(InvalidArgument) as shape:  # refused by Triton itself, which names it in prose only
        generate("x", size=["128x128", "64x64"])
    assert "size" in str(shape.value)


def test_the_deadline_of_the_request(generate: Generate) -> None:
    with pytest.raises(DeadlineExceeded, match="timeout_ms"):
        generate("x", num_inference_steps=100, timeout_ms=1)


def test_the_deadline_of_the_client(generate: Generate) -> None:
    with pytest.raises(DeadlineExceeded):
        generate("x", num_inference_steps=50, timeout_s=0.05)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_model_that_is_not_there(transport: str, server: EmbeddedServer) -> None:
    with pytest.raises(Unavailable, match="no_such_model"):
        generator(transport, server, model="no_such_model")("x")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_port_of_the_other_protocol(transport: str, server: EmbeddedServer) -> None:
    swapped: Any = SimpleNamespace(grpc_url=server.http_url, http_url=server.grpc_url)
    with pytest.raises(ServerUnreachable):
        generator(transport, swapped)("x", timeout_s=30)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_threads_share_a_blocking_client(protocol: str, server: EmbeddedServer) -> None:
    with ImageClient(server.grpc_url) if protocol == "grpc" else HttpImageClient(server.http_url) as client:

        def generate(seed: int) -> tuple[int, ...]:
            return client.generate("x", seed=seed, num_inference_steps=2).seeds

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(generate, range(8))) == [(seed,) for seed in range(8)]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_tasks_share_an_asyncio_client(protocol: str, server: EmbeddedServer) -> None:
    async def generate_all() -> list[GenerateResult]:
        kind, url = (
            (AsyncImageClient, server.grpc_url) if protocol == "grpc" else (AsyncHttpImageClient, server.http_url)
        )
        async with kind(url) as client:
            return await asyncio.gather(*(client.generate("x", seed=seed, num_inference_steps=2) for seed in range(8)))

    assert [result.seeds for result in asyncio.run(generate_all())] == [(seed,) for seed in range(8)]


def test_the_server_says_what_its_model_does(server: EmbeddedServer, random_checkpoint: str) -> None:
    with ImageClient(server.grpc_url) as client:
        description = client.describe()

    async def ask() -> ModelDescription:
        async with AsyncImageClient(server.grpc_url) as client:
            return await client.describe()

    def lasting(said: ModelDescription) -> ModelDescription:
        return replace(said, quiet_s=None)

    assert lasting(asyncio.run(ask())) == lasting(description)
    assert description.model == Path(random_checkpoint).name
    assert set(description.tasks) == {*TASKS} - {EDITING}
    assert "strength" in description.tasks["inpainting"]
    assert "strength" not in description.tasks["text-to-image"]
    # As docs/api.md has it for curl.
    body = json.dumps({"inputs": [], "outputs": [{"name": "model_description"}]}).encode()
    with urllib.request.urlopen(f"http://{server.http_url}/v2/models/image_preprocess/infer", body, 30) as response:
        (output,) = json.load(response)["outputs"]
    assert lasting(ModelDescription.from_json(output["data"][0].encode())) == lasting(description)
