"""`image_preprocess` in a real server, fetching from a host that misbehaves: each failure has its code and index."""

from __future__ import annotations

import base64
import gzip
import threading
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from PIL import Image
from tritonclient.utils import InferenceServerException

from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY
from tests.image_files import animated_webp, chunk, encoded, png_with, webp_frame
from tests.image_server import ImageServer, image_server
from tests.service.preprocess_client import LONGEST_WAIT_S, Preprocess
from tests.service.server_metrics import wait_until

_MAX_URL_REQUESTS = 100
RED = (255, 0, 0)


def image(colour: tuple[int, int, int] = RED, **options: Any) -> bytes:
    """A PNG of 16x8 pixels."""
    return encoded(Image.new("RGB", (16, 8), colour), "PNG", **options)


@pytest.fixture(scope="module")
def inputs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inputs")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, inputs_folder: Path) -> Iterator[EmbeddedServer]:
    """`image_preprocess` alone; may reach loopback, with short timeouts."""
    repository = tmp_path_factory.mktemp("repository")
    (repository / "image_preprocess").symlink_to(MODEL_REPOSITORY / "image_preprocess")
    parameters = {
        "allow_private_addresses": "true",
        "max_image_bytes": "1000000",
        "read_timeout_s": "1",
        "fetch_timeout_s": "4",
        "max_url_requests": str(_MAX_URL_REQUESTS),
        "input_save_path": str(inputs_folder),
    }
    with EmbeddedServer(
        repository, parameters={f"image_preprocess.{name}": text for name, text in parameters.items()}
    ) as running:
        yield running


@pytest.fixture
def preprocess(server: EmbeddedServer) -> Iterator[Preprocess]:
    with triton_grpc.InferenceServerClient(server.grpc_url) as client:
        yield Preprocess(client)


@pytest.fixture
def host() -> Iterator[ImageServer]:
    with image_server() as running:
        yield running


def gzip_bomb() -> bytes:
    """20 kB that become 20 MB."""
    bomb = zlib.compressobj(wbits=31)
    return bomb.compress(bytes(20_000_000)) + bomb.flush()


OK = b"HTTP/1.1 200 OK\r\n"
BUSY = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
DOWN = b"HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n"
TIMED_OUT = "fetch_failed: timed out"
BROKEN = "fetch_failed: the connection failed or broke off"
TOO_LARGE = "too_large: is larger than 1000000 bytes"
FAULTS: dict[str, tuple[Callable[[ImageServer], str], str]] = {
    "slow drip": (lambda h: h.raw("/x", OK, b"Content-Length: 9999\r\n\r\n", then_repeat=b"a", every_s=0.1), TIMED_OUT),
    "silence": (lambda h: h.hold("/x", b"")[0], TIMED_OUT),
    "endless body": (lambda h: h.raw("/x", OK, b"\r\n", then_repeat=bytes(65536)), TOO_LARGE),
    "endless chunks": (
        lambda h: h.raw(
            "/x", OK, b"Transfer-Encoding: chunked\r\n\r\n", then_repeat=b"10000\r\n" + bytes(65536) + b"\r\n"
        ),
        TOO_LARGE,
    ),
    "Content-Length too high": (lambda h: h.raw("/x", OK, b"Content-Length: 5000\r\n\r\n", image()), BROKEN),
    "Content-Length too low": (
        lambda h: h.raw("/x", OK, b"Content-Length: 60\r\n\r\n", image()),
        "invalid_image: is a damaged or incomplete PNG file",
    ),
    "Content-Length over the limit": (lambda h: h.raw("/x", OK, b"Content-Length: 1000001\r\n\r\n"), TOO_LARGE),
    "gzip bomb": (
        lambda h: h.serve("/x", gzip_bomb(), Content_Encoding="gzip"),
        TOO_LARGE,
    ),
    "gzip cut off": (
        lambda h: h.serve("/x", gzip.compress(image())[:-9], Content_Encoding="gzip"),
        "fetch_failed: the gzip encoding of the response is damaged",
    ),
    "brotli": (
        lambda h: h.serve("/x", b"brotli", Content_Encoding="br"),
        "unsupported_media_type: has the content encoding br; accepted ones are identity, gzip and deflate",
    ),
    "redirect loop": (lambda h: h.redirect("/x", "/x"), "fetch_failed: more than 3 redirects"),
    "reset in the body": (lambda h: h.in_turn("/x", *[OK + b"Content-Length: 99\r\n\r\nabc"] * 3), BROKEN),
    "503 three times": (lambda h: h.in_turn("/x", DOWN, DOWN, DOWN), "fetch_failed: status 503"),
    "404": (lambda h: h.url + "/nothing", "fetch_failed: status 404"),
    "empty": (lambda h: h.serve("/x", b""), "invalid_image: is empty"),
    "a page": (
        lambda h: h.serve("/x", b"<html>"),
        "unsupported_media_type: is in the HTML format; accepted formats are PNG, JPEG, WEBP",
    ),
    "no HTTP": (lambda h: h.raw("/x", b"SSH-2.0-OpenSSH_9.6\r\n"), BROKEN),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_host_that_misbehaves_is_refused_by_code_and_index(
    preprocess: Preprocess, host: ImageServer, fault: str
) -> None:
    set_up, problem = FAULTS[fault]
    assert preprocess.refusal(image(), set_up(host)) == f"image[1]: {problem}"
    assert preprocess(host.serve("/good.png", image()))[0].shape == (1, 8, 16, 3)


def test_a_missing_content_length_is_no_fault(preprocess: Preprocess, host: ImageServer) -> None:
    pixels, _ = preprocess(host.raw("/x", OK, b"\r\n", image()))
    assert tuple(pixels[0, 0, 0]) == RED


def test_gzip_that_nobody_asked_for_is_no_fault(preprocess: Preprocess, host: ImageServer) -> None:
    pixels, report = preprocess(host.serve("/x", gzip.compress(image()), Content_Encoding="gzip"))
    assert tuple(pixels[0, 0, 0]) == RED
    assert report["warnings"] == []


def test_a_signed_url_reaches_the_host_as_it_was_sent(preprocess: Preprocess, host: ImageServer) -> None:
    target = "/a%7Eb/%2fc/../d~?X-Signature=%2fA+b%3D&e=%7e"
    host.serve(target.partition("?")[0], image())
    for url in (host.url + target, host.redirect("/away", target)):
        assert preprocess(url)[0].shape == (1, 8, 16, 3)
    assert host.targets == [target, "/away", target]


def test_a_wrong_type_is_told(preprocess: Preprocess, host: ImageServer) -> None:
    text = base64.b64encode(image()).decode()
    _, report = preprocess(
        f"data:image/webp;base64,{text}",
        f"data:application/octet-stream;base64,{text}",
        host.serve("/x", image(), Content_Type="text/html"),
    )
    assert report["warnings"] == [
        "image[0]: was declared as image/webp but is a PNG file",
        "image[2]: was declared as text/html but is a PNG file",
    ]


def test_metadata_do_not_cost_an_image(preprocess: Preprocess) -> None:
    jpeg = encoded(Image.new("RGB", (16, 8), RED), "JPEG", quality=95)
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2 << 20)))
    files = [
        png_with(image(), text, b"IDAT"),
        png_with(image(), chunk(b"tEXt", b"Comment\0x", sum_off_by=1), b"IDAT"),
        jpeg[:-2],
        animated_webp((16, 8), webp_frame(Image.new("RGB", (8, 8), RED), (8, 0), lossless=True)),
    ]
    pixels, _ = preprocess(*files)
    assert abs(pixels[:, :, 8:].astype(int) - RED).max() <= 2
    assert np.all(pixels[3, :, :8] == 255)


def test_429_with_retry_after_and_a_reset_are_tried_again(preprocess: Preprocess, host: ImageServer) -> None:
    body = image()
    cut_off, whole = (OK + f"Content-Length: {length}\r\n\r\n".encode() for length in (5000, len(body)))
    url = host.in_turn("/x", BUSY, cut_off + b"abc", whole + body)
    assert preprocess(url)[0].shape == (1, 8, 16, 3)
    assert host.count("/x") == 3


def test_a_host_that_closes_kept_connections_is_no_fault(preprocess: Preprocess, host: ImageServer) -> None:
    """It promises keep-alive and hangs up after each response."""
    body = image()
    head = OK + f"Content-Length: {len(body)}\r\nConnection: keep-alive\r\nCache-Control: no-store\r\n\r\n".encode()
    url = host.in_turn("/x", *[head + body] * 5)
    for _ in range(5):
        assert preprocess(url)[0].shape == (1, 8, 16, 3)


def test_the_problems_of_all_images_come_together(preprocess: Preprocess, host: ImageServer) -> None:
    message = preprocess.refusal(host.url + "/nothing", image(), b"GIF89a", "AA*A", image()[:60])
    assert [part.split(": ")[:2] for part in message.split("; image")] == [
        ["image[0]", "fetch_failed"],
        ["[2]", "unsupported_media_type"],
        ["[3]", "invalid_image"],
        ["[4]", "invalid_image"],
    ]


def test_a_hundred_requests_for_a_slow_url_cause_one_download_and_hold_up_nobody(
    preprocess: Preprocess, host: ImageServer
) -> None:
    slow, released = host.hold("/slow.png", image())
    fast = host.serve("/fast.png", image())

    def insist(url: str) -> Any:
        while True:
            try:
                return preprocess(url)
            except InferenceServerException as refused:
                if refused.status() != "StatusCode.UNAVAILABLE":  # else the request for the fast URL had the last slot
                    raise

    def load_until_refused() -> None:
        """Until all the others wait, which shows in the bound on requests with URLs."""
        for _ in range(10_000):
            preprocess(fast)

    with ThreadPoolExecutor(_MAX_URL_REQUESTS) as callers:
        waiting = [callers.submit(insist, slow) for _ in range(_MAX_URL_REQUESTS)]
        with pytest.raises(InferenceServerException) as overloaded:
            load_until_refused()
        assert preprocess()[0] is None
        assert preprocess(base64.b64encode(image()))[0].shape == (1, 8, 16, 3)
        released.set()
        loaded = [request.result() for request in waiting]
    assert overloaded.value.status() == "StatusCode.UNAVAILABLE"
    assert f"unavailable: overloaded: {_MAX_URL_REQUESTS} requests with image URLs" in overloaded.value.message()
    assert all(tuple(pixels[0, 0, 0]) == RED for pixels, _ in loaded)
    assert host.count("/slow.png") == 1
    assert preprocess(fast)[0].shape == (1, 8, 16, 3)


def test_32_requests_with_32_urls_are_fetched_at_the_same_time(preprocess: Preprocess, host: ImageServer) -> None:
    """The host responds to none of them before all 32 have come."""
    together = threading.Barrier(32)
    urls = []
    for index in range(32):
        held, released = host.hold(f"/{index}.png", image((index, 0, 0)))
        respond = host.responses[f"/{index}.png"]

        def respond_together(handler: Any, respond: Any = respond, released: threading.Event = released) -> None:
            together.wait(LONGEST_WAIT_S)
            released.set()
            respond(handler)

        host.responses[f"/{index}.png"] = respond_together
        urls.append(held)
    with ThreadPoolExecutor(32) as callers:
        for index, (pixels, _) in enumerate(callers.map(preprocess, urls)):
            assert tuple(pixels[0, 0, 0]) == (index, 0, 0)


def test_input_images_are_kept_and_their_paths_reported(
    preprocess: Preprocess, host: ImageServer, inputs_folder: Path
) -> None:
    body = image((1, 2, 3))
    _, report = preprocess(body, host.serve("/x", body), image((4, 5, 6)))
    paths = [Path(report["input_paths"][f"image[{index}]"]) for index in range(3)]
    assert paths[0] == paths[1] != paths[2]
    assert paths[0].parent == inputs_folder
    assert paths[0].read_bytes() == body


def test_the_report_warns_of_an_animation(preprocess: Preprocess) -> None:
    frames = [Image.new("RGB", (16, 8), colour) for colour in ("green", "blue")]
    _, report = preprocess(image(save_all=True, append_images=frames))
    assert report["warnings"] == ["image[0]: has 3 frames; the first is used"]


def test_metrics_are_exported(server: EmbeddedServer, preprocess: Preprocess, host: ImageServer) -> None:
    preprocess(host.serve("/x", image()), image())
    preprocess.refusal(b"GIF89a")
    expected = [
        'images_total{instance="image_preprocess_0_0",source="url"}',
        'image_bytes_total{instance="image_preprocess_0_0",source="file"}',
        'failures_total{instance="image_preprocess_0_0",reason="unsupported_media_type"}',
        "fetch_seconds_bucket",
        "decode_seconds_bucket",
        "cache_misses_total",
        "cache_bytes",
        "downloads_in_flight",
    ]

    def exported() -> bool:
        with urllib.request.urlopen(server.metrics_url, timeout=10) as response:
            text = response.read().decode()
        return all(f"imagegen_preprocess_{name}" in text for name in expected)

    wait_until(exported)
    assert exported()
