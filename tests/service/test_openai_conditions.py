"""OpenAI's client, the command line and /v1/models with a real server of an edit model, and one of a control model."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import BadRequestError, OpenAI
from PIL import Image, ImageDraw

from imagegen.launch.embedded_frontend import EmbeddedFrontend
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY, other_checkpoint
from tests.service.conftest import png
from tests.unit import tiny_pipelines as tiny

RED = png(Image.new("RGB", (64, 48), "red"))
STEPS = {"num_inference_steps": 2}


@contextmanager
def served(checkpoint: Path, **parameters: str) -> Iterator[tuple[OpenAI, str]]:
    """OpenAI's client of a frontend that is ready, and the address of Triton behind it."""
    named = {name.replace("__", "."): value for name, value in parameters.items()}
    with (
        EmbeddedServer(MODEL_REPOSITORY, parameters=other_checkpoint(str(checkpoint)) | named) as server,
        EmbeddedFrontend(server.grpc_url) as frontend,
        OpenAI(base_url=f"{frontend.url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client, server.grpc_url


def generate(url: str, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`imagegen generate` with these options."""
    command = [sys.executable, "-m", "imagegen_client", "generate", "a cat", "--url", url, "--out", str(out)]
    return subprocess.run([*command, "--steps=2", *options], capture_output=True, text=True, timeout=60, check=False)


def capabilities(client: OpenAI) -> dict[str, Any]:
    (model,) = client.models.list()
    found: dict[str, Any] = model.model_dump()["capabilities"]
    return found


def size_of(path: str) -> tuple[int, int]:
    """(width, height) of an image file."""
    with Image.open(path) as image:
        return image.size


def test_an_edit_model_is_ready_and_edits_by_a_reference(tmp_path: Path) -> None:
    tiny.sd_instruct().save_pretrained(tmp_path / "edits")
    with served(tmp_path / "edits") as (client, url):  # by a probe with a reference
        described = capabilities(client)
        assert (list(described["tasks"]), described["max_references"]) == (["editing"], 1)
        made = client.images.edit(image=RED, prompt="a cat", extra_body=STEPS).model_dump()
        assert (made["metadata"]["task"], made["size"]) == ("editing", "64x48")
        with client.images.edit(image=RED, prompt="a cat", stream=True, extra_body=STEPS) as events:
            assert [event.type for event in events] == ["image_edit.completed"]
        for given, param, problem in (
            ({"image": [RED, RED]}, "image", "image: 2 images; the model edits takes at most 1"),
            ({"image": b"no image"}, "image", "image[0]: invalid_image"),
            ({"image": RED, "mask": RED}, "mask", "mask: the model edits does no inpainting; it does editing"),
        ):
            with pytest.raises(BadRequestError) as refused:
                client.images.edit(prompt="a cat", **given)
            assert refused.value.param == param
            assert problem in str(refused.value)
        (tmp_path / "in.png").write_bytes(RED)
        ended = generate(url, tmp_path / "out", "--reference", str(tmp_path / "in.png"))
        assert (ended.returncode, ended.stderr.count("task editing")) == (0, 1)
        assert size_of(ended.stdout.partition("  seed")[0]) == (64, 48)


def test_a_control_image_is_followed_and_comes_back_as_it_was_used(tmp_path: Path) -> None:
    tiny.sd().save_pretrained(tmp_path / "plain")
    tiny.sd_controlnet().controlnet.save_pretrained(tmp_path / "edges")
    square = Image.new("RGB", (64, 64))
    ImageDraw.Draw(square).rectangle((16, 16, 48, 48), fill="white")
    (tmp_path / "square.png").write_bytes(png(square))
    with served(tmp_path / "plain", diffusion__controlnets=f"canny={tmp_path / 'edges'}") as (client, url):
        described = capabilities(client)
        assert "control_image" in described["tasks"]["text-to-image"]
        assert (described["control_types"], described["control_preprocessors"]) == (["canny"], ["canny"])
        text = base64.b64encode(png(square)).decode()
        fields = {"control_image": text, "control_preprocess": True, "return_control": True, **STEPS}
        made = client.images.generate(prompt="a cat", size="64x64", extra_body=fields).model_dump()
        (used,) = made["used_control_images"]
        edges = Image.open(io.BytesIO(base64.b64decode(used["b64_json"]))).convert("L")
        assert (edges.size, edges.getpixel((32, 32)), edges.getextrema()) == ((64, 64), 0, (0, 255))
        for bad, param in (({"control_type": "depth"}, "control_type"), ({"control_scale": 3}, "control_scale")):
            with pytest.raises(BadRequestError) as refused:
                client.images.generate(prompt="a cat", extra_body={"control_image": text, **bad})
            assert refused.value.param == param
        control = f"canny={tmp_path / 'square.png'}:0.8"
        ended = generate(url, tmp_path / "out", "--control", control, "--control-preprocess", "--return-control")
        assert ended.returncode == 0
        image, used_path = (line.partition("  ")[0] for line in ended.stdout.splitlines())
        assert used_path == image.removesuffix("-0.png") + "-control-0.png"
        assert size_of(used_path) == size_of(image)
