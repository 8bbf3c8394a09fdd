"""`image_generation` through plain tritonclient: what is asked is what comes back."""

from __future__ import annotations

import base64
import io
import json
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagegen.launch.embedded_server import EmbeddedServer

STEPS = 3
STAGES = {"preprocess", "queue", "encode", "denoise", "decode", "diffusion", "postprocess"}
Infer = Callable[..., Any]


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_text_to_image_gives_n_images_of_the_size_with_reported_seeds(infer: Infer) -> None:
    response = infer(prompt="a red circle", n=3, size="96x64", num_inference_steps=STEPS, seed=5)
    assert [(p.format, p.size, p.mode) for p in response.images] == [("PNG", (96, 64), "RGB")] * 3
    assert response.seeds == [5, 6, 7]
    assert response.metadata["task"] == "text-to-image"
    assert response.metadata["size"] == "96x64"
    assert set(response.metadata["milliseconds"]) == STAGES
    first, second, third = response.pixels
    assert np.abs(first - second).max() > 8
    assert np.abs(second - third).max() > 8


def test_every_default_is_reported(infer: Infer) -> None:
    response = infer(prompt="x", num_inference_steps=STEPS)
    assert response.images[0].size == (128, 128)
    assert response.metadata["guidance_scale"] == 7.5
    assert response.metadata["scheduler"] == "ddim"
    assert response.metadata["warnings"] == []


def test_a_used_seed_gives_the_same_image_again(infer: Infer) -> None:
    several = infer(prompt="a red circle", n=3, num_inference_steps=STEPS)
    again = infer(prompt="a red circle", num_inference_steps=STEPS, seed=several.seeds[2])
    assert np.abs(several.pixels[2] - again.pixels[0]).max() <= 1


def test_a_seed_for_each_image(infer: Infer) -> None:
    response = infer(prompt="x", n=2, num_inference_steps=STEPS, seed=[9, 9])
    assert response.seeds == [9, 9]
    assert np.abs(response.pixels[0] - response.pixels[1]).max() <= 1


@pytest.mark.parametrize("form", ["raw", "base64", "data URL", "http URL"])
def test_image_to_image_from_every_source(infer: Infer, form: str, scene_png: bytes, image_host: str) -> None:
    text = base64.b64encode(scene_png).decode()
    image = {"raw": scene_png, "base64": text, "data URL": f"data:image/png;base64,{text}"}.get(
        form, f"{image_host}/scene.png"
    )
    response = infer(prompt="x", image=image, num_inference_steps=STEPS, strength=0.5, seed=1)
    assert response.metadata["task"] == "image-to-image"
    assert response.images[0].size == (128, 128)
    raw = infer(prompt="x", image=scene_png, num_inference_steps=STEPS, strength=0.5, seed=1)
    assert np.abs(response.pixels[0] - raw.pixels[0]).max() <= 1


def test_image_to_image_depends_on_the_image_and_takes_one_for_each_image(
    infer: Infer, scene_png: bytes, small_png: bytes
) -> None:
    response = infer(
        prompt="x", image=[scene_png, small_png], n=2, num_inference_steps=STEPS, strength=0.4, seed=[3, 3]
    )
    assert [p.size for p in response.images] == [(128, 128)] * 2
    assert np.abs(response.pixels[0] - response.pixels[1]).max() > 8


def test_metadata_warns_of_an_animated_input(infer: Infer) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue")]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    response = infer(prompt="x", image=file.getvalue(), num_inference_steps=STEPS)
    assert response.metadata["warnings"] == ["image[0]: has 3 frames; the first is used"]


def test_size_auto_keeps_proportions_and_a_size_cuts_the_middle_out(infer: Infer) -> None:
    """Outside its mask an inpainting keeps the input's pixels, so the result shows what was cut."""
    wide = np.zeros((64, 203, 3), dtype=np.uint8)
    wide[:, 60:143] = 255
    image = png(Image.fromarray(wide))
    mask = png(Image.new("L", (203, 64), 0))
    response = infer(prompt="x", image=image, mask=mask, num_inference_steps=STEPS)
    assert response.images[0].size == (200, 64)
    response = infer(prompt="x", image=image, mask=mask, num_inference_steps=STEPS, size="64x64")
    assert response.pixels[0].min() == 255


def test_inpainting_keeps_every_pixel_outside_the_mask(
    infer: Infer, scene: Image.Image, scene_png: bytes, mask_png: bytes
) -> None:
    """Exactly: the input's own pixels are pasted back, so the VAE's error does not show."""
    encoded = [base64.b64encode(data).decode() for data in (scene_png, mask_png)]
    response = infer(prompt="x", image=encoded[0], mask=encoded[1], num_inference_steps=STEPS, seed=2)
    assert response.metadata["task"] == "inpainting"
    repainted, original = response.pixels[0], np.asarray(scene).astype(np.int16)
    inside = np.zeros((128, 128), dtype=bool)
    inside[16:85, 32:97] = True
    assert np.array_equal(repainted[~inside], original[~inside])
    assert np.abs(repainted[inside] - original[inside]).mean() > 4


@pytest.mark.parametrize(("name", "pillow_name"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_output_formats(infer: Infer, name: str, pillow_name: str) -> None:
    response = infer(prompt="x", num_inference_steps=1, output_format=name, output_compression=50)
    assert response.images[0].format == pillow_name
    assert response.metadata["output_format"] == name


def test_generate_with_curl_like_json_repeats_by_seed(server: EmbeddedServer) -> None:
    body = {"prompt": "a red circle", "response_format": "b64_json", "seed": 7, "num_inference_steps": STEPS}

    def post() -> dict[str, Any]:
        url = f"http://{server.http_url}/v2/models/image_generation/generate"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            decoded: dict[str, Any] = json.load(response)
            return decoded

    first, second = post(), post()
    assert base64.b64decode(first["generated_image"]).startswith(b"\x89PNG")
    assert first["generated_image"] == second["generated_image"]
    assert first["used_seed"] == 7
    assert json.loads(first["metadata"])["num_inference_steps"] == STEPS


def test_outputs_can_be_asked_for_one_by_one(server: EmbeddedServer) -> None:
    body = {
        "inputs": [{"name": "prompt", "datatype": "BYTES", "shape": [1], "data": ["x"]}],
        "outputs": [{"name": "used_seed"}],
    }
    url = f"http://{server.http_url}/v2/models/image_generation/infer"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        assert [output["name"] for output in json.load(response)["outputs"]] == ["used_seed"]
