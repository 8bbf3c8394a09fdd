"""A request that runs the model at fewer steps, by every protocol: its report, its image, and a word nobody knows."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from imagegen_client import ImageClient, InvalidArgument
from tests.service.conftest import OpenAIServer, Reply, reply, tensors

STEPS = 12
COMPUTED = {"off": STEPS, "fine": 9, "balanced": 8, "fast": 8}
ASKED: dict[str, Any] = {"prompt": "a red circle", "size": "64x64", "num_inference_steps": STEPS, "seed": 7}
REFUSAL = "step_cache: 'magic' is not one of off, fine, balanced, fast"


def by_http(server: OpenAIServer, **options: Any) -> Reply:
    with triton_http.InferenceServerClient(server.triton.http_url, network_timeout=120) as client:
        return reply(client.infer("image_generation", tensors(triton_http, ASKED | options)))


def by_openai(server: OpenAIServer, **fields: Any) -> tuple[bytes, dict[str, Any]]:
    """The image, and the metadata."""
    own = {name: ASKED[name] for name in ("num_inference_steps", "seed")}
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        response = client.images.generate(prompt=ASKED["prompt"], size=ASKED["size"], extra_body=own | fields)
    assert response.data
    assert response.model_extra is not None
    return base64.b64decode(response.data[0].b64_json or ""), response.model_extra["metadata"]


def test_every_way_in_has_the_same_image_and_says_how_many_steps_were_computed(openai_server: OpenAIServer) -> None:
    alone = {name: by_http(openai_server, step_cache=name) for name in COMPUTED}
    with ThreadPoolExecutor(len(COMPUTED)) as threads:
        mixed = list(threads.map(lambda name: by_http(openai_server, step_cache=name), COMPUTED))
    for (name, computed), together in zip(COMPUTED.items(), mixed, strict=True):
        metadata = alone[name].metadata
        assert (metadata["num_inference_steps"], metadata["computed_steps"]) == (STEPS, computed)
        assert metadata["step_cache"] == name
        assert metadata["warnings"] == []
        assert abs(alone[name].pixels[0] - together.pixels[0]).max() <= 1
    assert alone["off"].raw[0] == by_http(openai_server).raw[0] != alone["fine"].raw[0]
    image, metadata = by_openai(openai_server, step_cache="fine")
    assert (image, metadata["computed_steps"]) == (alone["fine"].raw[0], COMPUTED["fine"])


def test_a_request_in_which_nothing_can_be_left_out_is_told_so(openai_server: OpenAIServer) -> None:
    metadata = by_http(openai_server, step_cache="fast", num_inference_steps=3).metadata
    assert (metadata["computed_steps"], metadata["step_cache"]) == (3, "off")
    assert metadata["warnings"] == ["step_cache has no effect: 3 steps are too few; it takes 8 or more"]


def test_another_word_is_refused_by_name(openai_server: OpenAIServer) -> None:
    with pytest.raises(InferenceServerException, match=REFUSAL) as by_triton:
        by_http(openai_server, step_cache="magic")
    assert by_triton.value.status() == "400"
    with (
        ImageClient(openai_server.triton.grpc_url) as client,
        pytest.raises(InvalidArgument, match=REFUSAL),
    ):
        client.generate(**ASKED | {"step_cache": "magic"})
    with pytest.raises(openai.BadRequestError) as refused:
        by_openai(openai_server, step_cache="magic")
    assert refused.value.param == "step_cache"
