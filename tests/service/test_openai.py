"""OpenAI's own Python client, unmodified, against a live server."""

from __future__ import annotations

import asyncio
import base64
import io
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
from PIL import Image, ImageDraw

from imagegen_client import ImageClient
from tests.service.conftest import OpenAIServer, png

STEPS = 6
OURS = {"num_inference_steps": STEPS, "seed": 7}


@pytest.fixture
def client(openai_server: OpenAIServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{openai_server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def pixels(base64_text: str | None) -> np.ndarray[Any, Any]:
    return np.asarray(decoded(base64_text).convert("RGB")).astype(np.int16)


def decoded(base64_text: str | None) -> Image.Image:
    assert base64_text is not None
    return Image.open(io.BytesIO(base64.b64decode(base64_text, validate=True)))


def data(response: openai.types.ImagesResponse) -> list[Any]:
    assert response.data is not None
    return list(response.data)


def test_generate_makes_what_triton_makes(client: openai.OpenAI, openai_server: OpenAIServer) -> None:
    response = client.images.generate(prompt="a red circle", n=2, size="64x128", extra_body=OURS)
    with ImageClient(openai_server.triton.grpc_url) as triton:
        same = triton.generate("a red circle", n=2, size="64x128", num_inference_steps=STEPS, seed=7)
    assert [base64.b64decode(item.b64_json) for item in data(response)] == list(same.images)
    assert [item.seed for item in data(response)] == [7, 8]
    assert (response.size, response.output_format, response.background) == ("64x128", "png", "opaque")
    assert response.usage is not None
    assert response.usage.output_tokens == 2 * 4 * 8
    assert response.usage.input_tokens_details.image_tokens == 0
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


def test_text_tokens_are_those_of_the_models_tokenizer(client: openai.OpenAI, openai_server: OpenAIServer) -> None:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(openai_server.checkpoint, subfolder="tokenizer")
    prompt = "A red circle, 2 squares & ünïcode " * 20
    response = client.images.generate(prompt=prompt, extra_body={"num_inference_steps": 1})
    assert response.usage is not None
    expected = tokenizer(prompt, add_special_tokens=False, truncation=False)["input_ids"]
    assert response.usage.input_tokens_details.text_tokens == len(expected)


def test_the_same_fields_in_nvext_make_the_same_image(client: openai.OpenAI) -> None:
    ours = {**OURS, "guidance_scale": 3.0, "negative_prompt": "blue", "scheduler": "euler"}
    top, nested = (client.images.generate(prompt="x", extra_body=body) for body in (ours, {"nvext": ours}))
    assert data(top)[0].b64_json == data(nested)[0].b64_json


def test_quality_is_a_number_of_steps(client: openai.OpenAI) -> None:
    response = client.images.generate(prompt="x", quality="low")
    assert response.quality == "low"
    assert response.model_extra is not None
    assert response.model_extra["metadata"]["num_inference_steps"] == 10
    explicit = client.images.generate(prompt="x", quality="low", extra_body={"num_inference_steps": 2})
    assert explicit.model_extra is not None
    assert explicit.model_extra["metadata"]["num_inference_steps"] == 2


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_formats(client: openai.OpenAI, output_format: Any) -> None:
    response = client.images.generate(
        prompt="x", output_format=output_format, output_compression=50, user="alice", extra_body=OURS
    )
    assert response.output_format == output_format
    assert decoded(data(response)[0].b64_json).format == output_format.upper()


def test_an_address_can_be_fetched(client: openai.OpenAI) -> None:
    by_address = data(client.images.generate(prompt="x", response_format="url", user="alice", extra_body=OURS))[0]
    assert by_address.b64_json is None
    with urllib.request.urlopen(by_address.url, timeout=30) as file:
        content = file.read()
        assert file.headers["Content-Type"] == "image/png"
        assert "immutable" in file.headers["Cache-Control"]
    whole = data(client.images.generate(prompt="x", response_format="b64_json", extra_body=OURS))[0]
    assert content == base64.b64decode(whole.b64_json)


def test_two_previews_and_the_image_come_in_order(client: openai.OpenAI) -> None:
    stream = client.images.generate(
        prompt="a red circle",
        stream=True,
        partial_images=2,
        output_format="jpeg",
        extra_body={"num_inference_steps": 20, "seed": 7},
    )
    events: list[Any] = list(stream)
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    assert all(decoded(event.b64_json).format == "JPEG" for event in events)
    assert decoded(events[2].b64_json).size == (128, 128)
    assert events[0].b64_json != events[1].b64_json
    assert events[2].usage.total_tokens > 0
    assert events[2].seed == 7


def test_progress_comes_when_asked_for(client: openai.OpenAI) -> None:
    body = {**OURS, "nvext": {"annotations": ["progress"]}}
    events: list[Any] = list(client.images.generate(prompt="x", stream=True, extra_body=body))
    kinds = [event.type for event in events]
    assert kinds[-1] == "image_generation.completed"
    assert set(kinds[:-1]) == {"image_generation.progress"}
    steps = [event.step for event in events[:-1]]
    assert steps == sorted(steps)
    assert events[-2].step == events[-2].total_steps == STEPS


def test_a_refused_stream_is_an_error_and_no_stream(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="size") as refused:
        client.images.generate(prompt="x", stream=True, size="7x7")
    assert refused.value.param == "size"


def test_edit_repaints_inside_the_mask_only(client: openai.OpenAI, scene_png: bytes, mask_png: bytes) -> None:
    response = client.images.edit(
        image=("scene.png", scene_png), mask=("mask.png", mask_png), prompt="a cat", extra_body=OURS
    )
    edited = pixels(data(response)[0].b64_json)
    before = np.asarray(Image.open(io.BytesIO(scene_png)).convert("RGB")).astype(np.int16)
    inside = np.asarray(Image.open(io.BytesIO(mask_png))) == 255
    assert np.array_equal(edited[~inside], before[~inside])
    assert np.abs(edited[inside] - before[inside]).mean() > 10
    assert response.usage is not None
    assert response.usage.input_tokens_details.image_tokens == 64


def transparent(scene: Image.Image) -> tuple[bytes, Any]:
    """The scene with a hole, and where the hole is."""
    image = scene.convert("RGBA")
    ImageDraw.Draw(image).rectangle((40, 40, 90, 90), fill=(0, 0, 0, 0))
    return png(image), np.asarray(image.getchannel("A")) == 0


def test_without_a_mask_the_images_alpha_is_one(client: openai.OpenAI, scene: Image.Image) -> None:
    file, hole = transparent(scene)
    response = client.images.edit(image=("scene.png", file), prompt="a cat", extra_body=OURS)
    edited, before = pixels(data(response)[0].b64_json), np.asarray(scene).astype(np.int16)
    assert np.array_equal(edited[~hole], before[~hole])
    assert np.abs(edited[hole] - before[hole]).mean() > 10


def test_without_mask_and_alpha_it_is_image_to_image(client: openai.OpenAI, scene: Image.Image) -> None:
    response = client.images.edit(image=[("a.png", png(scene.convert("RGBA")))], prompt="a cat", extra_body=OURS)
    assert response.model_extra is not None
    assert response.model_extra["metadata"]["task"] == "image-to-image"


def test_edit_streams(client: openai.OpenAI, scene_png: bytes, mask_png: bytes) -> None:
    stream = client.images.edit(
        image=("scene.png", scene_png), mask=("mask.png", mask_png), prompt="a cat", stream=True, partial_images=1
    )
    kinds = [event.type for event in stream]
    assert kinds == ["image_edit.partial_image", "image_edit.completed"]


def test_edit_takes_addresses_as_json(
    client: openai.OpenAI, image_host: str, scene: Image.Image, mask_png: bytes
) -> None:
    mask = f"data:image/png;base64,{base64.b64encode(mask_png).decode()}"
    body = {"prompt": "a cat", "images": [{"image_url": f"{image_host}/scene.png"}], "mask": {"image_url": mask}}
    response = client.post("/images/edits", body={**body, **OURS}, cast_to=openai.types.ImagesResponse)
    edited, before = pixels(data(response)[0].b64_json), np.asarray(scene).astype(np.int16)
    inside = np.asarray(Image.open(io.BytesIO(mask_png))) == 255
    assert np.array_equal(edited[~inside], before[~inside])


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # OpenAI has retired its own
def test_variation(client: openai.OpenAI, scene_png: bytes) -> None:
    response = client.images.create_variation(image=("scene.png", scene_png), n=2, size="512x512", extra_body=OURS)
    first, second = (pixels(item.b64_json) for item in data(response))
    assert first.shape == (512, 512, 3)
    assert np.abs(first - second).mean() > 1
    assert [set(item.model_dump()) >= {"b64_json", "seed"} for item in data(response)] == [True, True]


def test_models(client: openai.OpenAI) -> None:
    (listed,) = client.models.list().data
    response = client.images.generate(prompt="x", model=listed.id, extra_body=OURS)
    assert response.model_extra is not None
    assert client.models.retrieve(listed.id).id == listed.id == response.model_extra["metadata"]["model"]
    assert client.models.retrieve("image_generation").id == listed.id
    assert data(client.images.generate(prompt="x", model="image_generation", extra_body=OURS))
    with pytest.raises(openai.NotFoundError) as unknown:
        client.images.generate(prompt="x", model="dall-e-3")
    assert (unknown.value.param, unknown.value.code) == ("model", "model_not_found")


def test_many_at_once(openai_server: OpenAIServer) -> None:
    async def generate_all() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{openai_server.url}/v1", api_key="none", max_retries=0) as client:
            requests = (
                client.images.generate(prompt="x", extra_body={"seed": seed, "num_inference_steps": 2})
                for seed in range(32)
            )
            return list(await asyncio.gather(*requests))

    assert [data(response)[0].seed for response in asyncio.run(generate_all())] == list(range(32))
