"""The client's one set of arguments: it cannot drift from the server's table, and becomes the right tensors."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from hypothesis import given
from hypothesis import strategies as st

from imagegen.api.tensors import INPUTS, STREAM_INPUTS
from imagegen_client import (
    AsyncHttpImageClient,
    AsyncImageClient,
    GenerateArguments,
    HttpImageClient,
    ImageClient,
    InvalidArgument,
    StreamArguments,
)
from imagegen_client.arguments import DATA_TYPES, STREAM_DATA_TYPES
from imagegen_client.transport import infer_options

NOT_TENSORS = {"request_id", "priority", "timeout_s"}
EVERYTHING: dict[str, Any] = {
    "prompt": "ein roter Kreis ●",
    "negative_prompt": "",
    "image": [b"\x89PNG", "https://example.org/a.png"],
    "mask": b"\x00\xff",
    "reference_image": [b"\xff\xd8", "data:image/png;base64,AA=="],
    "control_image": [b"\x89PNG", "https://example.org/edges.png"],
    "control_type": ["canny", "depth"],
    "control_scale": [0.5, 2],
    "control_end": [1, 0.25],
    "control_preprocess": True,
    "return_control": False,
    "n": 2,
    "size": "128x64",
    "num_inference_steps": 3,
    "guidance_scale": 0.0,
    "strength": 0.5,
    "scheduler": "euler",
    "step_cache": "balanced",
    "lora": ["outline", "dusk"],
    "lora_scale": 0.5,
    "timeout_ms": 1000,
    "seed": [0, 2**63 - 1],
    "output_format": "webp",
    "output_compression": 0,
    "response_format": "url",
    "user": "someone",
}


def test_arguments_are_the_servers_inputs_with_their_data_types() -> None:
    server = {tensor.name: tensor.data_type.replace("STRING", "BYTES") for tensor in INPUTS}
    assert list(DATA_TYPES.items()) == list(server.items())
    assert {field.name for field in fields(GenerateArguments)} == set(server) | NOT_TENSORS


def test_streams_take_the_streams_inputs() -> None:
    server = {tensor.name: tensor.data_type.replace("STRING", "BYTES") for tensor in STREAM_INPUTS}
    assert list(STREAM_DATA_TYPES.items()) == list(server.items())
    assert {field.name for field in fields(StreamArguments)} == set(server) | NOT_TENSORS
    assert StreamArguments("x", partial_images=0).tensors()["partial_images"].tolist() == [0]
    assert "partial_images" not in StreamArguments("x").tensors()


@pytest.mark.parametrize("client", [ImageClient, AsyncImageClient])
def test_streams_show_their_arguments(client: type[Any]) -> None:
    shown = list(inspect.signature(client.stream).parameters.values())
    assert shown[1:] == list(inspect.signature(StreamArguments).parameters.values())


@pytest.mark.parametrize("client", [ImageClient, AsyncImageClient, HttpImageClient, AsyncHttpImageClient])
def test_all_clients_take_exactly_these_arguments(client: type[Any]) -> None:
    shown = list(inspect.signature(client.generate).parameters.values())
    assert shown[1:] == list(inspect.signature(GenerateArguments).parameters.values())


def test_only_the_prompt_is_required_and_none_is_left_out() -> None:
    (name, array), *rest = GenerateArguments("x").tensors().items()
    assert (name, array.tolist(), rest) == ("prompt", [b"x"], [])


def test_values_that_look_like_nothing_are_sent() -> None:
    arguments = GenerateArguments("", negative_prompt="", guidance_scale=0, output_compression=0, seed=0, n=0)
    assert set(arguments.tensors()) == {
        "prompt", "negative_prompt", "guidance_scale", "output_compression", "seed", "n",
    }  # fmt: skip


def test_every_argument_becomes_a_tensor_of_its_type() -> None:
    arrays = GenerateArguments(**EVERYTHING).tensors()
    kinds = {"BYTES": np.dtype(np.object_), "INT32": np.dtype("<i4"), "INT64": np.dtype("<i8"), "FP32": np.dtype("<f4")}
    kinds["BOOL"] = np.dtype(np.bool_)
    assert {name: array.dtype for name, array in arrays.items()} == {n: kinds[t] for n, t in DATA_TYPES.items()}
    assert all(array.ndim == 1 for array in arrays.values())
    assert arrays["prompt"].tolist() == ["ein roter Kreis ●".encode()]
    assert arrays["image"].tolist() == [b"\x89PNG", b"https://example.org/a.png"]
    assert arrays["seed"].tolist() == [0, 2**63 - 1]
    assert (arrays["lora"].tolist(), arrays["lora_scale"].tolist()) == ([b"outline", b"dusk"], [0.5])
    assert arrays["reference_image"].tolist() == [b"\xff\xd8", b"data:image/png;base64,AA=="]
    assert (arrays["control_scale"].tolist(), arrays["control_end"].tolist()) == ([0.5, 2.0], [1.0, 0.25])
    assert (arrays["control_preprocess"].tolist(), arrays["return_control"].tolist()) == ([True], [False])


def test_an_adapter_and_its_scale_may_be_several() -> None:
    arrays = GenerateArguments("x", lora=("a", "b"), lora_scale=[1, -0.5]).tensors()
    assert (arrays["lora"].tolist(), arrays["lora_scale"].tolist()) == ([b"a", b"b"], [1.0, -0.5])
    assert GenerateArguments("x", lora="outline").tensors()["lora"].tolist() == [b"outline"]


@pytest.mark.parametrize("kind", [tritonclient.http.InferInput, tritonclient.grpc.InferInput])
def test_both_protocols_get_every_tensor_the_priority_and_the_id(kind: type[Any]) -> None:
    options = infer_options(kind, GenerateArguments(**EVERYTHING, priority=1, request_id="a"))
    sent = {tensor.name(): (tensor.datatype(), list(tensor.shape())) for tensor in options["inputs"]}
    shapes = {name: [2] if isinstance(EVERYTHING[name], list) else [1] for name in DATA_TYPES}
    assert sent == {name: (data_type, shapes[name]) for name, data_type in DATA_TYPES.items()}
    assert (options["priority"], options["request_id"]) == (1, "a")


def test_a_path_is_read_and_a_string_is_passed_on(tmp_path: Path) -> None:
    file = tmp_path / "in.png"
    file.write_bytes(b"pixels")
    arrays = GenerateArguments("x", image=[file, str(file)], mask=file).tensors()
    assert arrays["image"].tolist() == [b"pixels", str(file).encode()]
    assert arrays["mask"].tolist() == [b"pixels"]


@given(st.one_of(st.binary(min_size=1), st.lists(st.binary(), min_size=1, max_size=16)))
def test_image_bytes_arrive_unchanged(image: bytes | list[bytes]) -> None:
    sent = GenerateArguments("x", image=image).tensors()["image"].tolist()
    assert sent == (image if isinstance(image, list) else [image])


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("n", 2**31, "does not fit a 32-bit integer"),
        ("n", 2.0, "not an integer"),
        ("n", "2", "not an integer"),
        ("seed", 2**63, "does not fit a 64-bit integer"),
        ("seed", [1, None], "not an integer"),
        ("seed", [], "empty"),
        ("image", [], "empty"),
        ("image", 7, "int is not text, bytes or a Path"),
        ("image", Path("no/such/file.png"), "No such file"),
        ("prompt", "\udcff", "not valid Unicode"),
        ("strength", "much", "not a number"),
        ("lora", [], "empty"),
        ("lora", 7, "not text"),
        ("lora_scale", "much", "not a number"),
        ("lora_scale", [1.0, "much"], "not a number"),
        ("reference_image", [], "empty"),
        ("control_scale", [1.0, "much"], "not a number"),
        ("control_preprocess", 1, "1 is not True or False"),
        ("return_control", "yes", "not True or False"),
        ("guidance_scale", 1e39, "1e\\+39 does not fit a 32-bit float"),
        ("guidance_scale", 10**309, "does not fit a 32-bit float"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_name(field: str, value: Any, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem) as caught:
        GenerateArguments(**{"prompt": "x", field: value}).tensors()
    assert caught.value.field == field


@pytest.mark.parametrize("client", [ImageClient, HttpImageClient])
@pytest.mark.parametrize("url", ["http://localhost:8000", ""])
def test_an_address_is_host_and_port(client: type[Any], url: str) -> None:
    with pytest.raises(InvalidArgument, match="HOST:PORT"):
        client(url)
