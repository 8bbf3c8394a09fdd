"""Many images and many requests at once: side by side, bounded, each with a deadline, nothing stays behind."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
from PIL import Image

from imagegen.api.errors import ImageRejected, Unavailable
from imagegen.api.limits import RequestRules
from imagegen.images.input.load import ImageLoader
from imagegen.images.input.settings import InputSettings
from tests.unit.images.input.loading import load_images

ANY_SIZE = RequestRules(granularity_px=1)

Write = Callable[..., bytes]
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def colours(pixels: Any) -> list[tuple[int, ...]]:
    """The colour of the middle of each image of [N, H, W, 3]."""
    return [tuple(image[image.shape[0] // 2, image.shape[1] // 2].tolist()) for image in pixels]


def test_the_images_of_a_request_are_loaded_at_once(loader: ImageLoader, encoded: Write, server: Any) -> None:
    """The server responds to none of the requests before all of them have arrived."""
    data = encoded(Image.new("RGB", (8, 8), RED))
    url = server.serve_together("/a.png", data, 6)
    *urls, mask = [f"{url}?{index}".encode() for index in range(6)]
    assert colours(load_images(loader, urls, mask, None, ANY_SIZE).pixels) == [RED] * 5


def test_more_requests_than_threads_finish(encoded: Write, no_metrics: Any) -> None:
    """A pool of one thread serves many requests of several images at once: nothing waits inside the pool."""
    loader = ImageLoader(InputSettings(decode_threads=1), no_metrics)
    images = [encoded(Image.new("RGB", (8, 8), colour)) for colour in (RED, GREEN, BLUE)]
    with ThreadPoolExecutor(8) as callers:
        requests = [callers.submit(load_images, loader, images, images[0], (16, 16), ANY_SIZE) for _ in range(40)]
        for request in requests:
            assert colours(request.result().pixels) == [RED, GREEN, BLUE]
    loader.close()


def test_a_hundred_requests_for_one_url_cause_one_download(loader: ImageLoader, encoded: Write, server: Any) -> None:
    url = server.serve("/a.png", encoded(Image.new("RGB", (8, 8), RED))).encode()
    together = threading.Barrier(100)

    def load(_: int) -> list[tuple[int, ...]]:
        together.wait(30)
        return colours(load_images(loader, [url], None, None, ANY_SIZE).pixels)

    with ThreadPoolExecutor(100) as callers:
        assert list(callers.map(load, range(100))) == [[RED]] * 100
    assert len(server.requests) == 1


def test_requests_with_urls_above_the_bound_are_refused_and_others_go_on(
    encoded: Write, server: Any, no_metrics: Any
) -> None:
    data = encoded(Image.new("RGB", (8, 8), RED))
    loader = ImageLoader(InputSettings(allow_private_addresses=True, max_url_requests=2), no_metrics)
    held, released = server.hold("/held.png", data)
    url = held.encode()
    with ThreadPoolExecutor(2) as callers:
        waiting = [
            callers.submit(load_images, loader, [url + b"?%d" % index], None, None, ANY_SIZE) for index in range(2)
        ]
        server.wait_for_requests(2)
        with pytest.raises(Unavailable, match="unavailable: overloaded: 2 requests with image URLs"):
            load_images(loader, [data, url], None, None, ANY_SIZE)
        assert colours(load_images(loader, [data], data, None, ANY_SIZE).pixels) == [RED]
        released.set()
        for request in waiting:
            assert colours(request.result(30).pixels) == [RED]
    assert colours(load_images(loader, [url], None, None, ANY_SIZE).pixels) == [RED]
    loader.close()


def test_no_request_waits_past_its_deadline(encoded: Write, server: Any, no_metrics: Any) -> None:
    """Also one that only joined a download, or whose download found no free connection."""
    settings = InputSettings(allow_private_addresses=True, fetch_timeout_s=0.2, max_connections=1)
    loader = ImageLoader(settings, no_metrics)
    held, released = server.hold("/held.png", b"")
    url = held.encode()
    with ThreadPoolExecutor(3) as callers:
        requests = [
            callers.submit(load_images, loader, [url + suffix], None, None, ANY_SIZE)
            for suffix in (b"", b"", b"?other")
        ]
        for request in requests:
            with pytest.raises(ImageRejected, match=r"image\[0\]: fetch_failed: timed out"):
                request.result(30)
    released.set()
    loader.close()


def test_a_silent_name_server_holds_up_no_request_past_its_deadline(
    no_metrics: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operating system's resolver takes no timeout, so the download outlasts those who wait for it."""
    released = threading.Event()

    def resolve(*args: Any, **kwargs: Any) -> list[Any]:
        released.wait(30)
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    loader = ImageLoader(InputSettings(fetch_timeout_s=0.1), no_metrics)
    with pytest.raises(ImageRejected, match=r"image\[0\]: fetch_failed: timed out"):
        load_images(loader, [b"http://images.test/"], None, None, ANY_SIZE)
    released.set()
    loader.close()


def test_nothing_is_left_behind(encoded: Write, server: Any, no_metrics: Any) -> None:
    """No thread and no socket, after requests that ended well and badly."""
    process = psutil.Process()
    threads, connections = threading.active_count(), len(process.net_connections())
    loader = ImageLoader(InputSettings(allow_private_addresses=True, fetch_attempts=1), no_metrics)
    good = server.serve("/a.png", encoded(Image.new("RGB", (8, 8)))).encode()
    reset = server.raw("/reset", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort").encode()
    for _ in range(20):
        with pytest.raises(ImageRejected):
            load_images(loader, [good, reset, b"http://127.0.0.1:1/"], None, None, ANY_SIZE)
    loader.close()
    gc.collect()  # urllib3 closes a pool's connections when the pool is collected
    for _ in range(1000):  # the server's own threads and sockets end a little later
        if threading.active_count() <= threads and len(process.net_connections()) <= connections:
            break
        time.sleep(0.01)
    assert threading.active_count() <= threads
    assert len(process.net_connections()) <= connections
