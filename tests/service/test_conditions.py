"""References and control images on their way through a real server: ensemble and stream, HTTP and gRPC."""

from __future__ import annotations

import base64
import io
import json
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from PIL import Image
from tritonclient.utils import InferenceServerException

from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY
from imagegen_client import ImageClient
from tests.image_server import image_server
from tests.service.conftest import png, tensors

Call = Callable[..., dict[str, Any]]
BAD_REQUEST = {"400", "StatusCode.INVALID_ARGUMENT"}
COLOURS = ("red", "lime", "blue")
REFERENCES = [png(Image.new("RGB", size, c)) for size, c in zip(((64, 16), (20, 40), (512, 256)), COLOURS, strict=True)]
GREY = png(Image.new("RGB", (64, 32), "grey"))
WHITE = png(Image.new("RGB", (48, 48), "white"))


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server whose model takes references and controls, and says what it was given."""
    folder = tmp_path_factory.mktemp("echo")
    repository = folder / "repository"
    shutil.copytree(MODEL_REPOSITORY, repository, ignore=shutil.ignore_patterns("checkpoint*", "loras"))
    shutil.copy(Path(__file__).with_name("echo_diffusion.py"), repository / "diffusion" / "1" / "model.py")
    store = folder / "store"
    parameters = {
        "image_preprocess.allow_private_addresses": "true",
        "image_postprocess.output_url": f"file://{store}",
        "image_postprocess.public_base_url": "http://h",
    }
    with EmbeddedServer(repository, parameters=parameters) as server:
        yield server


def call(module: Any, url: str, **values: Any) -> dict[str, Any]:
    """The outputs of `image_generation`, the metadata read."""
    with module.InferenceServerClient(url) as client:
        result = client.infer("image_generation", tensors(module, {"prompt": "x", **values}))
    outputs = {name: result.as_numpy(name) for name in ("generated_image", "used_control_image", "metadata")}
    return outputs | {"metadata": json.loads(outputs["metadata"][0])}


def stream(url: str, **values: Any) -> dict[str, Any]:
    """The outputs of the last event of `image_generation_stream`."""
    responses: list[Any] = []
    with triton_grpc.InferenceServerClient(url) as client:
        client.start_stream(lambda result, error: responses.append(error or result))
        client.async_stream_infer("image_generation_stream", tensors(triton_grpc, {"prompt": "x", **values}))
        client.stop_stream()
    if isinstance(responses[-1], Exception):
        raise responses[-1]
    last = responses[-1]
    assert last.as_numpy("event")[0] == b"completed"
    outputs = {name: last.as_numpy(name) for name in ("generated_image", "used_control_image", "metadata")}
    return outputs | {"metadata": json.loads(outputs["metadata"][0])}


def ways(server: EmbeddedServer) -> dict[str, Call]:
    """The ways into a server."""
    return {
        "http": lambda **values: call(triton_http, server.http_url, **values),
        "grpc": lambda **values: call(triton_grpc, server.grpc_url, **values),
        "stream": lambda **values: stream(server.grpc_url, **values),
    }


@pytest.fixture(params=["http", "grpc", "stream"])
def infer(request: pytest.FixtureRequest, echo: EmbeddedServer) -> Call:
    """`infer(reference_image=...)`, prompt included."""
    return ways(echo)[request.param]


def given(outputs: dict[str, Any]) -> dict[str, Any]:
    """What the model says that it was given."""
    found: dict[str, Any] = json.loads(outputs["metadata"]["warnings"][0])
    return found


def flag(value: bool) -> tuple[str, Any]:
    return "BOOL", np.array([value])


def floats(*values: float) -> tuple[str, Any]:
    return "FP32", np.array(values, np.float32)


def test_references_of_all_sizes_reach_the_model_in_order_and_none_is_cropped(infer: Call) -> None:
    outputs = infer(reference_image=REFERENCES, size="64x64")
    assert given(outputs)["references"] == [
        [[16, 64, 3], [255, 0, 0]],
        [[40, 20, 3], [0, 255, 0]],
        [[128, 256, 3], [0, 0, 255]],  # the server's longest side is 256
    ]
    assert outputs["metadata"]["task"] == "editing"
    assert outputs["used_control_image"].shape == (0,)


def test_controls_reach_the_model_in_the_size_of_the_output_with_what_belongs_to_them(infer: Call) -> None:
    outputs = infer(
        control_image=[GREY, WHITE], control_type=["depth", "canny"], control_scale=floats(0.6), size="64x64"
    )
    found = given(outputs)
    assert (found["controls"], found["types"], found["scales"]) == ([2, 64, 64, 3], ["depth", "canny"], [0.6])
    assert outputs["metadata"]["task"] == "text-to-image"
    assert outputs["used_control_image"].shape == (0,)


@pytest.mark.parametrize("values", [{}, {"image": GREY}])
def test_an_image_of_size_auto_is_as_large_as_what_it_starts_from_or_else_as_its_control(
    infer: Call, values: dict[str, Any]
) -> None:
    outputs = infer(control_image=WHITE, control_type="depth", **values)
    assert given(outputs)["controls"] == ([1, 32, 64, 3] if values else [1, 48, 48, 3])


@pytest.mark.parametrize("response_format", ["bytes", "b64_json", "url"])
def test_the_controls_come_back_as_the_images_do(infer: Call, response_format: str) -> None:
    outputs = infer(
        control_image=[GREY, WHITE],
        control_type=["depth", "canny"],
        return_control=flag(True),
        output_format="webp",
        response_format=response_format,
    )
    controls = list(outputs["used_control_image"])
    assert len(controls) == len(outputs["generated_image"]) == 2
    if response_format == "url":
        assert len({*controls, *outputs["generated_image"]}) == 4
        assert all(address.startswith(b"http://h/") for address in controls)
        return
    files = [base64.b64decode(text) for text in controls] if response_format == "b64_json" else controls
    images = [Image.open(io.BytesIO(file)) for file in files]
    assert [image.format for image in images] == ["WEBP", "WEBP"]
    assert [image.size for image in images] == [(64, 32), (64, 32)]
    assert [image.convert("RGB").getpixel((3, 3)) for image in images] == [(128, 128, 128), (255, 255, 255)]


def test_a_control_made_of_a_plain_image_comes_back_as_it_was_used(infer: Call) -> None:
    pytest.importorskip("cv2")
    square = Image.new("RGB", (64, 64), "white")
    square.paste("black", (16, 16, 48, 48))
    outputs = infer(
        control_image=png(square), control_type="canny", control_preprocess=flag(True), return_control=flag(True)
    )
    edges = np.asarray(Image.open(io.BytesIO(outputs["used_control_image"][0])).convert("L"))
    assert edges[32, 14:18].max() == 255
    assert edges[20:44, 20:44].max() == edges[:10].max() == 0


def test_generate_takes_lists_and_flags_as_json(echo: EmbeddedServer) -> None:
    values = {
        "prompt": "x",
        "control_image": [base64.b64encode(GREY).decode()],
        "control_type": ["depth"],
        "return_control": True,
        "response_format": "b64_json",
    }
    url = f"http://{echo.http_url}/v2/models/image_generation/generate"
    for asked in (True, False):
        body = json.dumps(values | {"return_control": asked}).encode()
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=60) as response:
            control = json.loads(response.read()).get("used_control_image", [])
        if asked:
            assert Image.open(io.BytesIO(base64.b64decode(control))).size == (64, 32)
        else:
            assert control == []


@pytest.mark.parametrize("field", ["reference_image", "control_image"])
def test_a_slow_host_holds_up_nobody_else(echo: EmbeddedServer, field: str) -> None:
    infer = ways(echo)["grpc"]
    further = {"control_type": "depth"} if field == "control_image" else {}
    with image_server() as host, ThreadPoolExecutor(1) as callers:
        held, released = host.hold(f"/{field}.png", GREY)
        waiting = callers.submit(infer, **{field: held}, **further)
        host.wait_for_requests(1)
        infer(reference_image=GREY)
        infer()
        assert not waiting.done()
        released.set()
        assert len(waiting.result()["generated_image"]) == 1


def test_the_description_says_what_can_be_given(echo: EmbeddedServer) -> None:
    with ImageClient(echo.grpc_url) as client:
        described = client.describe()
    assert (described.max_references, described.least_reference_px) == (3, 16)
    assert (described.control_types, described.max_controls) == (("canny", "depth"), 2)
    assert described.control_preprocessors == ("canny",)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"reference_image": [GREY] * 4}, ["reference_image: 4 images", "at most 3"]),
        ({"reference_image": [GREY, png(Image.new("L", (64, 15)))]}, ["reference_image[1]: ", "64x15", "16 or more"]),
        ({"reference_image": [GREY, "file:///etc/passwd"]}, ["reference_image[1]: url_not_allowed"]),
        ({"reference_image": [GREY], "image": GREY}, ["reference_image: given with image"]),
        ({"control_image": GREY}, ["control_type: missing", "canny, depth"]),
        ({"control_image": GREY, "control_type": "pose"}, ["control_type: 'pose' is not one of canny, depth"]),
        ({"control_image": [GREY] * 3, "control_type": ["canny"] * 3}, ["control_image: 3 images", "at most 2"]),
        (
            {"control_image": GREY, "control_type": "depth", "control_scale": floats(2.5)},
            ["control_scale: 2.5", "0..2"],
        ),
        ({"control_image": GREY, "control_type": "depth", "control_end": floats(0.0)}, ["control_end: 0 is outside"]),
        (
            {"control_image": GREY, "control_type": "depth", "control_preprocess": flag(True)},
            ["control_preprocess: control type 'depth' needs depth_model"],
        ),
        ({"return_control": flag(True)}, ["return_control: given without control_image"]),
    ],
)
def test_what_the_model_does_not_take_is_a_bad_request_by_field(
    infer: Call, values: dict[str, Any], says: list[str]
) -> None:
    with pytest.raises(InferenceServerException) as refused:
        infer(**values)
    assert refused.value.status() in {*BAD_REQUEST, None}  # None: an event of a stream
    message = refused.value.message()
    assert [words for words in says if words not in message] == [], message


@pytest.mark.parametrize("way", ["http", "grpc", "stream"])
def test_a_model_without_references_and_controls_says_what_it_takes(server: EmbeddedServer, way: str) -> None:
    infer = ways(server)[way]
    with pytest.raises(InferenceServerException) as refused:
        infer(reference_image=["http://127.0.0.1:9/never-fetched.png"])
    assert "reference_image: the model checkpoint does no editing; it does text-to-image" in refused.value.message()
    with pytest.raises(InferenceServerException) as refused:
        infer(control_image=["http://127.0.0.1:9/never-fetched.png"])
    assert "control_image: the model checkpoint has no control models" in refused.value.message()
    assert infer(num_inference_steps=1)["used_control_image"].shape == (0,)
