"""A checkpoint whose weights hold a NaN: an error that says so, with its documented statuses, never an image."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from imagegen.api import errors
from imagegen.engine import Engine
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY, other_checkpoint
from imagegen_client import ImageClient, NonFinite
from tests.service.server_metrics import wait_until

PROBLEM = "non_finite: denoise: the model computed values that are not finite numbers"


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory, random_checkpoint: str) -> Path:
    folder = tmp_path_factory.mktemp("damaged") / "checkpoint"
    shutil.copytree(random_checkpoint, folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["conv_out.bias"][0] = torch.nan
    save_file(tensors, weights)
    return folder


@pytest.fixture(scope="module")
def server(damaged: Path) -> Iterator[EmbeddedServer]:
    """Without a warm-up, which would notice it."""
    parameters = {"diffusion.warmup_sizes": "none", "diffusion.cpu_threads": "1", **other_checkpoint(str(damaged))}
    with EmbeddedServer(MODEL_REPOSITORY, parameters=parameters) as running:
        yield running


def post(url: str, body: dict[str, Any]) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode()), timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_error_has_its_documented_status_on_each_way(server: EmbeddedServer) -> None:
    """`/generate` knows one status for what a model responds with: Triton's own code has it, in every release."""
    models = f"http://{server.http_url}/v2/models"
    inputs = [{"name": "prompt", "datatype": "BYTES", "shape": [1], "data": ["a cat"]}]
    few = {"prompt": "a cat", "response_format": "b64_json", "num_inference_steps": 2, "size": "64x64"}
    for url, body, status in (
        (f"{models}/image_generation/infer", {"inputs": inputs}, 500),
        (f"{models}/image_generation/generate", few, 400),
        (f"{models}/image_generation_stream/generate_stream", few, 200),  # of the first event
    ):
        found, text = post(url, body)
        assert (found, PROBLEM in text) == (status, True), (url, found, text)


def test_clients_get_an_exception_of_its_own_and_the_metrics_count_it(server: EmbeddedServer) -> None:
    with ImageClient(server.grpc_url) as client, pytest.raises(NonFinite, match="usually a scheduler"):
        client.generate("a cat", num_inference_steps=2, size="64x64")
    labels = 'device="cpu",instance="diffusion_0_0",outcome="error",stage="denoise"'
    counted = f"imagegen_diffusion_non_finite_total{{{labels}}}"
    wait_until(lambda: f"{counted} 0" not in _metrics(server) and counted in _metrics(server))


def _metrics(server: EmbeddedServer) -> str:
    with urllib.request.urlopen(server.metrics_url) as response:
        text: str = response.read().decode()
        return text


def test_with_a_warm_up_it_is_refused_at_load(damaged: Path) -> None:
    """What a server loads its model with; how it says why it cannot is in test_embedded_server.py."""
    with Engine.load(damaged, cpu_threads=1) as engine, pytest.raises(errors.NonFinite, match=PROBLEM):
        engine.warm_up()
