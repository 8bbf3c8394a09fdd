"""One real server for the whole session, and a real HTTP host for its image URLs."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from PIL import Image, ImageDraw

from checkpoint.random_checkpoint import make_checkpoint
from imagegen.launch.embedded_frontend import EmbeddedFrontend
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.image_host import image_host as loopback_host
from imagegen.launch.model_repository import MODEL_REPOSITORY, other_checkpoint
from imagegen.launch.ports import free_port
from perf.workload import scene_png as workload_scene_png

_DATATYPES = {
    "n": "INT32",
    "num_inference_steps": "INT32",
    "timeout_ms": "INT32",
    "output_compression": "INT32",
    "guidance_scale": "FP32",
    "strength": "FP32",
    "seed": "INT64",
}
# Requests that take minutes are what many tests want, and deadlines that pass while images are generated.
PATIENT = {"diffusion.cpu_threads": "1", "diffusion.max_expected_s": "0"}
_NUMPY = {"INT32": np.int32, "INT64": np.int64, "FP32": np.float32}


@dataclass(frozen=True)
class Reply:
    """The response of `image_generation`."""

    raw: list[bytes]
    seeds: list[int]
    metadata: dict[str, Any]

    @property
    def images(self) -> list[Image.Image]:
        return [Image.open(io.BytesIO(image)) for image in self.raw]

    @property
    def pixels(self) -> list[np.ndarray[Any, Any]]:
        return [np.asarray(image.convert("RGB")).astype(np.int16) for image in self.images]


Infer = Callable[..., Reply]


def tensors(module: Any, values: dict[str, Any]) -> list[Any]:
    """Keyword arguments as tritonclient inputs; a list gives a tensor, (datatype, array) is sent as is."""
    inputs = []
    for name, value in values.items():
        if isinstance(value, tuple):
            datatype, array = value
        else:
            datatype = _DATATYPES.get(name, "BYTES")
            items = value if isinstance(value, list) else [value]
            if datatype == "BYTES":
                items = [item.encode() if isinstance(item, str) else item for item in items]
            array = np.array(items, dtype=_NUMPY.get(datatype, np.object_))
        tensor = module.InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    return inputs


def reply(result: Any) -> Reply:
    return Reply(
        raw=list(result.as_numpy("generated_image")),
        seeds=result.as_numpy("used_seed").tolist(),
        metadata=json.loads(result.as_numpy("metadata")[0]),
    )


def repository_with(folder: Path, setting: str, other: str) -> Path:
    """A copy of the model repository in `folder`, with another setting in the diffusion model's configuration."""
    repository = folder / "repository"
    shutil.copytree(MODEL_REPOSITORY, repository)
    config = repository / "diffusion" / "config.pbtxt"
    config.write_text(config.read_text().replace(setting, other))
    return repository


@pytest.fixture(params=["http", "grpc"])
def infer(request: pytest.FixtureRequest, server: EmbeddedServer) -> Iterator[Infer]:
    """`infer(prompt=..., n=...)` through plain tritonclient, over HTTP and over gRPC."""
    if request.param == "http":
        module, client = triton_http, triton_http.InferenceServerClient(server.http_url, network_timeout=120)
    else:
        module, client = triton_grpc, triton_grpc.InferenceServerClient(server.grpc_url)
    with client:
        yield lambda **values: reply(client.infer("image_generation", tensors(module, values)))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def random_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Random weights, of which a step costs a third of the bundled checkpoint's: for tests that only need speed."""
    folder = tmp_path_factory.mktemp("random") / "checkpoint"
    make_checkpoint(folder)
    return str(folder)


@pytest.fixture(scope="session")
def server(random_checkpoint: str) -> Iterator[EmbeddedServer]:
    """Without a store."""
    parameters = {
        "image_preprocess.allow_private_addresses": "true",
        **PATIENT,
        **other_checkpoint(random_checkpoint),
    }
    with EmbeddedServer(MODEL_REPOSITORY, parameters=parameters) as running:
        yield running


@pytest.fixture(scope="session")
def narrow(tmp_path_factory: pytest.TempPathFactory, random_checkpoint: str) -> Iterator[EmbeddedServer]:
    """A server that runs one request at a time and lets three more wait."""
    repository = repository_with(tmp_path_factory.mktemp("narrow"), "max_queue_size: 1024", "max_queue_size: 3")
    parameters = {
        **PATIENT,
        "diffusion.max_active_requests": "1",
        **other_checkpoint(random_checkpoint),
    }
    with EmbeddedServer(repository, parameters=parameters) as server:
        yield server


@pytest.fixture(scope="session")
def scene() -> Image.Image:
    """An image with structure: 128x128, a yellow disc on blue with a green strip."""
    return Image.open(io.BytesIO(workload_scene_png())).convert("RGB")


@pytest.fixture(scope="session")
def scene_png(scene: Image.Image) -> bytes:
    return png(scene)


@pytest.fixture(scope="session")
def small_png() -> bytes:
    """Grey, 8x8."""
    return png(Image.new("RGB", (8, 8), (128, 128, 128)))


@pytest.fixture(scope="session")
def mask_png() -> bytes:
    """White, to be repainted, in the middle; black elsewhere; 128x128."""
    mask = Image.new("L", (128, 128), 0)
    ImageDraw.Draw(mask).rectangle((32, 16, 96, 84), fill=255)
    return png(mask)


@pytest.fixture(scope="session")
def image_host(tmp_path_factory: pytest.TempPathFactory, scene_png: bytes) -> Iterator[str]:
    """Base URL of a real HTTP host on loopback that serves /scene.png."""
    folder = tmp_path_factory.mktemp("host")
    (folder / "scene.png").write_bytes(scene_png)
    with loopback_host(folder) as url:
        yield url


@dataclass(frozen=True)
class OpenAIServer:
    """A Triton server that stores images in a folder, and the frontend before it that shows them."""

    triton: EmbeddedServer
    frontend: EmbeddedFrontend
    store: Path
    checkpoint: str

    @property
    def url(self) -> str:
        return self.frontend.url


@pytest.fixture(scope="session")
def openai_server(tmp_path_factory: pytest.TempPathFactory, random_checkpoint: str) -> Iterator[OpenAIServer]:
    """The frontend with default options but for the files."""
    store = tmp_path_factory.mktemp("store")
    port = free_port("OpenAI", 0)
    parameters = {
        "image_preprocess.allow_private_addresses": "true",
        "image_postprocess.output_url": f"file://{store}",
        "image_postprocess.public_base_url": f"http://127.0.0.1:{port}/v1/images/files",
        **PATIENT,
        **other_checkpoint(random_checkpoint),
    }
    options: dict[str, str | list[str]] = {"files-folder": str(store), "tokenizer": random_checkpoint}
    with (
        EmbeddedServer(MODEL_REPOSITORY, parameters=parameters) as triton,
        EmbeddedFrontend(triton.grpc_url, options=options, port=port) as frontend,
    ):
        yield OpenAIServer(triton, frontend, store, random_checkpoint)
