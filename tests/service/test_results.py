"""`response_format=url`, the whole way: images lie where the deployment wants them and a plain GET fetches them."""

from __future__ import annotations

import io
import re
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from PIL import Image
from tritonclient.utils import InferenceServerException

from imagegen.api.reports import GenerationReport
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY
from imagegen_client import HttpImageClient, ImageClient
from tests.s3_server import CREDENTIALS, FaultyProxy, S3Server

STEPS = 2


@dataclass(frozen=True)
class Gallery:
    """A server that stores images in a folder, which a web server shows."""

    server: EmbeddedServer
    folder: Path
    url: str


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gallery]:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test's output clean."""

    folder = tmp_path_factory.mktemp("gallery")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as host:
        thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        url = f"http://127.0.0.1:{host.server_address[1]}"
        parameters = {
            "image_postprocess.output_url": f"file://{folder}",
            "image_postprocess.public_base_url": url,
            "image_postprocess.embed_parameters": "true",
            "diffusion.cpu_threads": "1",
            "diffusion.max_num_inference_steps": "40",
        }
        with EmbeddedServer(MODEL_REPOSITORY, parameters=parameters) as server:
            yield Gallery(server, folder, url)
        host.shutdown()
        thread.join()


def get(url: str) -> tuple[bytes, str]:
    """Content and content type."""
    with urllib.request.urlopen(url, timeout=30) as response:
        return response.read(), response.headers["Content-Type"]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("output_format", ["png", "jpeg"])
def test_a_plain_get_fetches_the_images_that_bytes_would_have_been(
    gallery: Gallery, protocol: str, output_format: str
) -> None:
    client = ImageClient(gallery.server.grpc_url) if protocol == "grpc" else HttpImageClient(gallery.server.http_url)
    with client:
        arguments: dict[str, Any] = {"n": 2, "seed": 3, "num_inference_steps": STEPS, "output_format": output_format}
        result = client.generate("a red circle", response_format="url", user="alice", **arguments)
        images = client.generate("a red circle", **arguments).images
    assert result.images == ()
    assert result.metadata["milliseconds"]["store"] > 0
    for url, image in zip(result.urls, images, strict=True):
        assert re.fullmatch(
            gallery.url + r"/users/alice/generations/[0-9a-zA-Z_-]+/[0-9a-f]{32}\." + output_format, url
        )
        assert get(url) == (image, f"image/{output_format}")


def test_the_key_holds_the_id_of_the_request_and_the_file_how_it_was_made(gallery: Gallery) -> None:
    texts = {"prompt": "a red circle", "negative_prompt": "blue", "response_format": "url", "user": "../../etc"}
    inputs = []
    for name, text in texts.items():
        inputs.append(triton_grpc.InferInput(name, [1], "BYTES"))
        inputs[-1].set_data_from_numpy(np.array([text.encode()], dtype=np.object_))
    for name, kind in (("seed", np.int64), ("num_inference_steps", np.int32)):
        inputs.append(triton_grpc.InferInput(name, [1], kind.__name__.upper()))
        inputs[-1].set_data_from_numpy(np.array([7], dtype=kind))
    with triton_grpc.InferenceServerClient(gallery.server.grpc_url) as client:
        result = client.infer("image_generation", inputs, request_id="order-66")
    url = result.as_numpy("generated_image")[0].decode()
    assert re.search(r"/users/_etc-[0-9a-f]{12}/generations/order-66/[0-9a-f]{32}\.png$", url)
    with Image.open(io.BytesIO(get(url)[0])) as image:
        text = image.info["parameters"]
    assert text.startswith("a red circle\nNegative prompt: blue\nSteps: 7, ")
    assert "Seed: 7, Size: 128x128" in text


def test_the_first_step_refuses_by_what_is_configured_on_the_others(gallery: Gallery) -> None:
    """Its own configuration names neither the limit nor the store."""
    prompt = triton_grpc.InferInput("prompt", [1], "BYTES")
    prompt.set_data_from_numpy(np.array([b"x"], dtype=np.object_))
    steps = triton_grpc.InferInput("num_inference_steps", [1], "INT32")
    url = triton_grpc.InferInput("response_format", [1], "BYTES")
    url.set_data_from_numpy(np.array([b"url"], dtype=np.object_))
    with triton_grpc.InferenceServerClient(gallery.server.grpc_url) as client:
        steps.set_data_from_numpy(np.array([40], dtype=np.int32))
        assert client.infer("image_preprocess", [prompt, steps, url]).as_numpy("preprocess_report") is not None
        steps.set_data_from_numpy(np.array([41], dtype=np.int32))
        with pytest.raises(InferenceServerException, match=r"num_inference_steps: 41 is outside 1\.\.40"):
            client.infer("image_preprocess", [prompt, steps])


def test_images_bytes_and_seconds_are_counted(gallery: Gallery) -> None:
    with ImageClient(gallery.server.grpc_url) as client:
        client.generate("x", num_inference_steps=1, response_format="url", output_format="webp")
    expected = [r"images_total\{.*format=\"webp\".*\} 1", r"image_bytes_total\{.*format=\"webp\".*\} \d{3,}"]
    expected += [r"encode_seconds_count\{.*format=\"webp\".*\} 1", r"store_seconds_count\{.*\} \d+"]
    for _ in range(100):  # handed over a few times a second
        text = get(gallery.server.metrics_url)[0].decode()
        missing = [pattern for pattern in expected if not re.search("imagegen_postprocess_" + pattern, text)]
        if not missing:
            break
        threading.Event().wait(0.05)
    assert missing == []


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedServer, FaultyProxy, S3Server]]:
    """`image_postprocess` alone, with an S3 store behind a proxy that can make it fail."""
    folder = tmp_path_factory.mktemp("s3")
    (folder / "repository").mkdir()
    (folder / "repository" / "image_postprocess").symlink_to(MODEL_REPOSITORY / "image_postprocess")
    store = S3Server(folder / "log")
    store.new_bucket("images")
    proxy = FaultyProxy(store.port)
    with pytest.MonkeyPatch.context() as environment, proxy.running() as url:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": url}.items():
            environment.setenv(name, value)
        parameters = {"image_postprocess.output_url": "s3://images/results"}
        with EmbeddedServer(folder / "repository", parameters=parameters) as server:
            yield server, proxy, store
    store.close()


def postprocess(server: EmbeddedServer, frames: Any, **texts: str) -> list[bytes]:
    """The images that `image_postprocess` returns for frames."""
    report = GenerationReport(
        model="m",
        task="text_to_image",
        size="64x64",
        num_inference_steps=1,
        computed_steps=1,
        guidance_scale=None,
        strength=None,
        scheduler=None,
        mean_batch_rows=1.0,
        warnings=(),
        milliseconds={},
    )
    arrays = {
        "frames": frames,
        "frame_seed": np.arange(len(frames)),
        **{
            name: np.array([text.encode()], dtype=np.object_)
            for name, text in {"diffusion_report": report.to_json().decode(), **texts}.items()
        },
    }
    inputs = []
    for name, array in arrays.items():
        kind = {"u": "UINT8", "i": "INT64", "O": "BYTES"}[array.dtype.kind]
        inputs.append(triton_grpc.InferInput(name, list(array.shape), kind))
        inputs[-1].set_data_from_numpy(array)
    with triton_grpc.InferenceServerClient(server.grpc_url) as client:
        return list(client.infer("image_postprocess", inputs).as_numpy("generated_image"))


FRAMES = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)


def test_images_go_to_s3_and_signed_urls_come_back(faulty: tuple[EmbeddedServer, FaultyProxy, S3Server]) -> None:
    server, proxy, _ = faulty
    proxy.fault = lambda method, number: None
    urls = postprocess(server, FRAMES, response_format="url")
    for url, frame in zip(urls, FRAMES, strict=True):
        content, content_type = get(url.decode())
        assert content_type == "image/png"
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), frame)


def test_a_store_that_fails_in_the_middle_fails_the_request_and_keeps_nothing(
    faulty: tuple[EmbeddedServer, FaultyProxy, S3Server],
) -> None:
    server, proxy, store = faulty
    before = store.keys("images")
    puts = proxy.requests.count("PUT")
    proxy.fault = lambda method, number: "lose" if method == "PUT" and number >= puts + 2 else None
    with pytest.raises(InferenceServerException, match="storage_failed: the images could not be stored") as failed:
        postprocess(server, FRAMES, response_format="url")
    assert failed.value.status() == "StatusCode.UNAVAILABLE"
    assert store.keys("images") == before
    assert len(postprocess(server, FRAMES)) == 4  # requests without URLs are not affected


def test_frames_of_another_kind_are_an_error_that_says_so(
    faulty: tuple[EmbeddedServer, FaultyProxy, S3Server],
) -> None:
    with pytest.raises(InferenceServerException, match=r"internal_error: frames: uint8 \[1, 8, 8, 2\]; uint8 \[n"):
        postprocess(faulty[0], np.zeros((1, 8, 8, 2), np.uint8))
