"""Streams of a real server: what comes in which order, over gRPC and HTTP, alone and many at once."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import tritonclient.grpc as triton_grpc
from PIL import Image

from imagegen.launch.embedded_server import EmbeddedServer
from imagegen_client import (
    AsyncImageClient,
    DeadlineExceeded,
    GenerateResult,
    ImageClient,
    ImageRejected,
    InvalidArgument,
    Preview,
    Progress,
)
from tests.service.conftest import tensors
from tests.service.server_metrics import news

STREAM = "/v2/models/image_generation_stream/generate_stream"


@pytest.fixture
def client(server: EmbeddedServer) -> Iterator[ImageClient]:
    with ImageClient(server.grpc_url) as client:
        yield client


def server_sent_events(server: EmbeddedServer, **body: Any) -> list[dict[str, Any]]:
    request = urllib.request.Request(f"http://{server.http_url}{STREAM}", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=120) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        lines = response.read().decode().splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line]


def test_progress_comes_after_each_step_and_then_what_the_unary_model_returns(client: ImageClient) -> None:
    arguments: dict[str, Any] = {"n": 2, "num_inference_steps": 5, "seed": 7}
    *before, result = news(client.stream("a red circle", **arguments))
    assert before == [Progress(step, 5) for step in range(1, 6)]
    assert isinstance(result, GenerateResult)
    unary = client.generate("a red circle", **arguments)
    assert result.images == unary.images
    assert result.seeds == (7, 8)
    assert set(result.metadata) == set(unary.metadata)
    assert set(result.metadata["milliseconds"]) == set(unary.metadata["milliseconds"])


@pytest.mark.parametrize("partial_images", [0, 1, 2, 3])
def test_each_image_has_its_previews_evenly_spread_and_in_order(client: ImageClient, partial_images: int) -> None:
    events = news(client.stream("x", n=2, num_inference_steps=8, partial_images=partial_images))
    for image_index in range(2):
        own = [event for event in events if isinstance(event, Preview) and event.image_index == image_index]
        assert [preview.preview_index for preview in own] == list(range(partial_images))
        expected = [8 * (index + 1) // (partial_images + 1) for index in range(partial_images)]
        # Of several images the slowest counts, and another may be a step further.
        assert all(0 <= step - preview.step <= 1 for preview, step in zip(own, expected, strict=True))
    assert all(event.total_steps == 8 for event in events[:-1] if not isinstance(event, GenerateResult))
    assert isinstance(events[-1], GenerateResult)
    assert events[-1].metadata["warnings"] == []


@pytest.mark.parametrize(("steps", "previews"), [(1, 0), (2, 1), (3, 2), (4, 3)])
def test_fewer_steps_have_fewer_previews(client: ImageClient, steps: int, previews: int) -> None:
    events = list(client.stream("x", num_inference_steps=steps, partial_images=3))
    assert sum(isinstance(event, Preview) for event in events) == previews


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("response_format", ["bytes", "b64_json"])
def test_previews_are_small_images_in_the_format_of_the_image(
    client: ImageClient, output_format: str, response_format: str
) -> None:
    arguments: dict[str, Any] = {"output_format": output_format, "response_format": response_format}
    events = client.stream("x", size="384x192", num_inference_steps=2, partial_images=1, **arguments)
    (preview,) = (event for event in events if isinstance(event, Preview))
    with Image.open(io.BytesIO(preview.image)) as image:
        assert (image.format, image.size) == (output_format.upper(), (256, 128))
        image.load()


def test_image_to_image_streams_the_steps_that_its_strength_leaves(client: ImageClient, scene_png: bytes) -> None:
    *before, result = news(client.stream("x", image=scene_png, strength=0.5, num_inference_steps=8, partial_images=1))
    assert [event.step for event in before if isinstance(event, Progress)] == [1, 2, 3, 4]
    assert [event.step for event in before if isinstance(event, Preview)] == [2]
    assert isinstance(result, GenerateResult)
    assert result.metadata["task"] == "image-to-image"


@pytest.mark.parametrize(
    ("arguments", "kind", "field"),
    [
        ({"n": 99}, InvalidArgument, "n"),
        ({"partial_images": 4}, InvalidArgument, "partial_images"),
        ({"partial_images": -1}, InvalidArgument, "partial_images"),
        ({"scheduler": "lcm"}, InvalidArgument, "scheduler"),
        ({"image": b"no image"}, ImageRejected, "image[0]"),
        ({"response_format": "url"}, InvalidArgument, "response_format"),
        ({"timeout_ms": 1, "num_inference_steps": 100}, DeadlineExceeded, None),
    ],
)
def test_an_error_ends_the_stream_and_names_its_field(
    client: ImageClient, arguments: dict[str, Any], kind: type[Any], field: str | None
) -> None:
    with pytest.raises(kind) as refused:
        list(client.stream("x", **arguments))
    assert type(refused.value) is kind
    assert refused.value.field == field


def test_over_http_a_stream_is_server_sent_events(server: EmbeddedServer) -> None:
    body = {"prompt": "x", "num_inference_steps": 4, "partial_images": 2, "response_format": "b64_json", "seed": 3}
    events = server_sent_events(server, **body)
    distinct = {(event["event"], event.get("step"), event.get("preview_index")): event["event"] for event in events}
    distinct.pop(("progress", 0, None), None)  # a keepalive
    assert list(distinct.values()) == [
        *("progress", "preview", "progress", "preview", "progress", "progress", "completed"),
    ]
    previews = [event for event in events if event["event"] == "preview"]
    assert [(preview["preview_index"], preview["image_index"]) for preview in previews] == [(0, 0), (1, 0)]
    assert all(base64.b64decode(preview["preview"]).startswith(b"\x89PNG") for preview in previews)
    last = events[-1]
    assert (last["step"], last["total_steps"], last["used_seed"]) == (4, 4, 3)
    assert base64.b64decode(last["generated_image"]).startswith(b"\x89PNG")
    assert json.loads(last["metadata"])["num_inference_steps"] == 4


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"prompt": "x", "n": 99}, "invalid_argument: n: 99"),
        ({"prompt": "x", "partial_images": 4}, "invalid_argument: partial_images: 4 is outside 0..3"),
        ({"prompt": "x", "partial_image": 1}, "invalid_argument: partial_image: no such input"),
        ({}, "invalid_argument: prompt: missing"),
    ],
)
def test_over_http_a_bad_request_is_400(server: EmbeddedServer, body: dict[str, Any], message: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        server_sent_events(server, **body)
    assert refused.value.code == 400
    assert message in refused.value.read().decode()


def test_an_unknown_input_is_refused_by_name(server: EmbeddedServer) -> None:
    errors: list[Any] = []
    with triton_grpc.InferenceServerClient(server.grpc_url) as client:
        client.start_stream(lambda result, error: errors.append(error))
        client.async_stream_infer("image_generation_stream", tensors(triton_grpc, {"prompt": "x", "style": "y"}))
        client.stop_stream()
    (error,) = errors
    assert "style" in str(error)


def test_the_last_response_is_empty_and_final(server: EmbeddedServer) -> None:
    responses: list[Any] = []
    with triton_grpc.InferenceServerClient(server.grpc_url) as client:
        client.start_stream(lambda result, error: responses.append(result.get_response()))
        inputs = tensors(triton_grpc, {"prompt": "x", "num_inference_steps": 1})
        client.async_stream_infer(
            "image_generation_stream", inputs, request_id="mine", enable_empty_final_response=True
        )
        client.stop_stream()
    final = [response.parameters["triton_final_response"].bool_param for response in responses]
    assert final == [False, False, True]
    assert not responses[-1].outputs
    assert {response.id for response in responses} == {"mine"}


def test_many_streams_at_once_each_have_their_own_events(server: EmbeddedServer) -> None:
    async def stream(client: AsyncImageClient, seed: int) -> None:
        steps = 3 + seed % 4
        events = [
            event
            async for event in client.stream(
                "x", seed=seed, num_inference_steps=steps, partial_images=2, size="64x64", output_format="jpeg"
            )
        ]
        heard = [event for event in events if isinstance(event, Progress) and event.total_steps]
        assert heard == sorted(heard, key=lambda event: event.step)
        assert heard[-1] == Progress(steps, steps)
        assert [event.preview_index for event in events if isinstance(event, Preview)] == [0, 1]
        assert isinstance(events[-1], GenerateResult)
        assert events[-1].seeds == (seed,)

    async def stream_all() -> None:
        async with AsyncImageClient(server.grpc_url) as client:
            await asyncio.gather(*(stream(client, seed) for seed in range(48)))

    asyncio.run(stream_all())


def test_images_of_a_stream_are_the_same_with_and_without_previews(client: ImageClient) -> None:
    arguments: dict[str, Any] = {"seed": 5, "num_inference_steps": 4}
    with_, without = (list(client.stream("x", partial_images=count, **arguments))[-1] for count in (3, 0))
    assert isinstance(with_, GenerateResult)
    assert isinstance(without, GenerateResult)
    assert with_.images == without.images


def test_nobody_is_cancelled_by_an_id_that_nobody_has(client: ImageClient) -> None:
    assert not client.cancel("nobody")
    with pytest.raises(InvalidArgument):
        client.cancel("")
    with pytest.raises(InvalidArgument):
        client.cancel("x" * 1025)
