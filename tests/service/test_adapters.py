"""LoRA adapters by request on a real server: by every protocol, mixed, loaded and unloaded while it serves."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
import pytest
from openai import OpenAI
from PIL import Image

from imagegen.launch.embedded_frontend import EmbeddedFrontend
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import BUNDLED_CHECKPOINT, MODEL_REPOSITORY
from imagegen.triton.admin_key import ADMIN_KEY_VARIABLE
from imagegen_client import GenerateResult, ImageClient, InvalidArgument, Unavailable
from tests.service.conftest import PATIENT
from tests.service.server_metrics import wait_until
from tests.unit.tiny_engine import levels

KEY = "the administrator's"
LORAS = BUNDLED_CHECKPOINT.parent / "loras"
PROMPT = "a large red heart in the center on a blue background"
SMALL: dict[str, Any] = {"size": "64x64", "num_inference_steps": 4, "seed": 7}
STACKS: list[dict[str, Any]] = [
    {},
    {"lora": "outline"},
    {"lora": ["dusk", "outline"], "lora_scale": [0.5, -1.0]},
    {"lora": "dusk"},
    {"lora": "outline", "lora_scale": 1.5, "num_inference_steps": 2},
    {},
]


class Served:
    """A server with a folder of adapters, its frontend, and clients of both."""

    def __init__(self, server: EmbeddedServer, frontend: EmbeddedFrontend, folder: Path) -> None:
        self.server, self.frontend, self.folder = server, frontend, folder
        self.client = ImageClient(server.grpc_url)
        self.openai = OpenAI(base_url=f"{frontend.url}/v1", api_key="none", max_retries=0)

    def generate(self, **options: Any) -> Any:
        """Pixels of an image, by gRPC."""
        return pixels(self.client.generate(PROMPT, **{**SMALL, **options}).images[0])

    def post(self, path: str, body: Any, key: str = KEY) -> tuple[int, str]:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        request = urllib.request.Request(self.frontend.url + path, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())["error"]["message"]

    def models(self) -> list[str]:
        return [model.id for model in self.openai.models.list()]


def pixels(image: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("loras")
    for name in ("dusk", "outline"):
        shutil.copy(LORAS / f"{name}.safetensors", folder)
    with (
        mock.patch.dict("os.environ", {ADMIN_KEY_VARIABLE: KEY}),
        EmbeddedServer(MODEL_REPOSITORY, parameters={**PATIENT, "diffusion.lora_folder": str(folder)}) as server,
        EmbeddedFrontend(server.grpc_url) as frontend,
    ):
        made = Served(server, frontend, folder)
        yield made
        made.client.close()
        made.openai.close()


def test_mixed_requests_are_as_each_alone(served: Served) -> None:
    alone = [served.generate(**stack) for stack in STACKS]
    with ThreadPoolExecutor(len(STACKS)) as threads:
        results = list(threads.map(lambda stack: served.client.generate(PROMPT, **{**SMALL, **stack}), STACKS))
    for result, expected, stack in zip(results, alone, STACKS, strict=True):
        assert levels(pixels(result.images[0]), expected) <= 1
        names = stack.get("lora", [])
        assert [lora["name"] for lora in result.metadata["loras"]] == ([names] if isinstance(names, str) else names)
    assert max(result.metadata["mean_batch_rows"] for result in results) > 4
    assert len({image.tobytes() for image in alone}) == len(STACKS) - 1


def by_generate(served: Served, **options: Any) -> Any:
    """By curl's way, Triton's generate extension."""
    url = f"http://{served.server.http_url}/v2/models/image_generation/generate"
    body = {"prompt": PROMPT, "response_format": "b64_json", **SMALL, **options}
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode()), timeout=120) as response:
        return pixels(base64.b64decode(json.load(response)["generated_image"]))


def by_stream(served: Served, **options: Any) -> Any:
    *_, last = served.client.stream(PROMPT, **{**SMALL, **options})
    assert isinstance(last, GenerateResult)
    return pixels(last.images[0])


def by_openai(served: Served, **options: Any) -> Any:
    names, scales = options["lora"], options["lora_scale"]
    lora = [{"name": name, "scale": scale} for name, scale in zip(names, scales, strict=True)]
    own = {name: SMALL[name] for name in ("num_inference_steps", "seed")}
    response = served.openai.images.generate(
        prompt=PROMPT, size=SMALL["size"], response_format="b64_json", extra_body={"lora": lora, **own}
    )
    assert response.data is not None
    return pixels(base64.b64decode(response.data[0].b64_json or ""))


@pytest.mark.parametrize("way", [by_generate, by_stream, by_openai])
def test_every_way_in_has_them(served: Served, way: Callable[..., Any]) -> None:
    options: dict[str, Any] = {"lora": ["dusk", "outline"], "lora_scale": [0.5, 1.25]}
    assert levels(way(served, **options), served.generate(**options)) <= 1


def test_a_file_that_comes_into_the_folder_is_an_adapter_at_once(served: Served) -> None:
    assert served.models()[1:] == ["dusk", "outline"]
    file = served.folder / "another.safetensors"
    with pytest.raises(InvalidArgument, match="'another' is not on offer; these are: 'dusk', 'outline'"):
        served.generate(lora="another")
    shutil.copy(LORAS / "dusk.safetensors", file)
    assert levels(served.generate(lora="another"), served.generate(lora="dusk")) == 0
    assert "another" in served.models()
    shutil.copy(LORAS / "outline.safetensors", served.folder / "next")
    os.replace(served.folder / "next", file)
    assert levels(served.generate(lora="another"), served.generate(lora="outline")) == 0
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(InvalidArgument, match=r"lora: 'another' cannot be used: another.safetensors: "):
        served.generate(lora="another")
    file.unlink()
    assert served.models()[1:] == ["dusk", "outline"]


def test_an_administrator_loads_and_unloads_while_it_serves(served: Served) -> None:
    path = str(LORAS / "dusk.safetensors")
    asked = {"lora_name": "mine", "lora_path": path}
    assert served.post("/v1/load_lora_adapter", asked, key="a guess")[0] == 401
    assert served.post("/v1/load_lora_adapter", asked) == (200, "Success: LoRA adapter 'mine' added successfully.")
    model = next(model for model in served.openai.models.list() if model.id == "mine")
    assert model.to_dict()["parent"] == served.models()[0]
    expected = served.generate(lora="dusk")
    assert levels(served.generate(lora="mine"), expected) == 0
    own = {name: SMALL[name] for name in ("num_inference_steps", "seed")}
    response = served.openai.images.generate(
        prompt=PROMPT, model="mine", size=SMALL["size"], response_format="b64_json", extra_body=own
    )
    assert response.data is not None
    assert levels(pixels(base64.b64decode(response.data[0].b64_json or "")), expected) == 0
    assert served.post("/v1/load_lora_adapter", asked | {"lora_path": "/elsewhere"})[0] == 400
    status, problem = served.post("/v1/load_lora_adapter", {"lora_name": "none", "lora_path": "/none.safetensors"})
    assert (status, "none.safetensors: there is no such file" in problem) == (400, True)
    assert served.post("/v1/unload_lora_adapter", {"lora_name": "mine"})[0] == 200
    assert served.post("/v1/unload_lora_adapter", {"lora_name": "mine"})[0] == 404
    with pytest.raises(InvalidArgument, match="'mine' is not on offer"):
        served.generate(lora="mine")


def test_paths_and_other_mistakes_are_refused_by_name(served: Served) -> None:
    refused: list[tuple[dict[str, Any], str]] = [
        ({"lora": str(LORAS / "dusk.safetensors")}, "lora: .* is not on offer"),
        ({"lora": "https://example.com/a.safetensors"}, "lora: .* is not on offer"),
        ({"lora": "outline", "lora_scale": [1.0, 2.0]}, "lora_scale: 2 scales for 1 names"),
        ({"lora": "outline", "lora_scale": float("nan")}, "lora_scale: nan is outside"),
        ({"lora": "outline", "lora_scale": 4.5}, "lora_scale: 4.5 is outside the allowed range, -4..4"),
        ({"lora": ["outline", "outline"]}, "lora: 'outline' is named twice"),
        ({"lora": [str(number) for number in range(5)]}, "lora: 5 of them; at most 4 are allowed"),
        ({"lora_scale": 1.0}, "lora_scale: 1 scales for 0 names"),
    ]
    for options, problem in refused:
        with pytest.raises(InvalidArgument, match=problem):
            served.generate(**options)


def test_what_was_loaded_is_there_after_the_engine_was_killed(served: Served) -> None:
    served.client.administrate("load_lora", KEY, lora_name="kept", lora_path=str(LORAS / "dusk.safetensors"))
    expected = served.generate(lora="kept")
    children = psutil.Process(served.server.pid).children(recursive=True)
    (engine,) = [child for child in children if "imagegen.engine.worker" in child.cmdline()]
    engine.kill()

    def serves_again() -> bool:
        try:
            return bool(levels(served.generate(lora="kept"), expected) == 0)
        except Unavailable:
            return False

    wait_until(serves_again)
    served.client.administrate("unload_lora", KEY, lora_name="kept")
