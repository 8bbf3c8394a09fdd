"""Fetches end at their deadline whatever the server does, and a bounded number runs at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from imagegen.images.input.errors import ImageError
from imagegen.images.input.fetch import Fetcher
from imagegen.images.input.settings import InputSettings

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nimage"


@pytest.fixture
def impatient() -> Iterator[Fetcher]:
    """A fetch ends after 0.3 s in all while each read could wait for 60 s."""
    fetcher = Fetcher(InputSettings(allow_private_addresses=True, read_timeout_s=60.0, fetch_timeout_s=0.3))
    yield fetcher
    fetcher.close()


def refusal(fetcher: Fetcher, url: str) -> str:
    with pytest.raises(ImageError) as caught:
        fetcher.fetch(url)
    return str(caught.value)


@pytest.mark.parametrize(
    ("start", "repeat"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"a"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"a"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"a"),
        (b"", b"H"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_a_server_that_drips_is_abandoned_at_the_deadline(
    impatient: Fetcher, server: Any, start: bytes, repeat: bytes
) -> None:
    """Each read succeeds at once, so that only a deadline over all of them ends this before the test's own limit."""
    url = server.raw("/drip", start, then_repeat=repeat, every_s=0.02)
    assert refusal(impatient, url) == "fetch_failed: timed out"


def test_a_silent_server_is_abandoned_at_the_deadline(impatient: Fetcher, server: Any) -> None:
    server.responses["/silent"] = lambda handler: server.stopped.wait()
    assert refusal(impatient, server.url + "/silent") == "fetch_failed: timed out"


def test_one_deadline_holds_for_all_redirects(impatient: Fetcher, server: Any) -> None:
    def slow_redirect(handler: Any) -> None:
        server.stopped.wait(0.2)
        handler.send_response(302)
        handler.send_header("Location", "/slow")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    server.responses["/slow"] = slow_redirect
    assert refusal(impatient, server.url + "/slow") == "fetch_failed: timed out"


def test_the_read_timeout_ends_a_fetch_before_its_deadline(server: Any) -> None:
    settings = InputSettings(allow_private_addresses=True, read_timeout_s=0.2, fetch_timeout_s=600.0, fetch_attempts=1)
    server.responses["/silent"] = lambda handler: server.stopped.wait()
    assert refusal(Fetcher(settings), server.url + "/silent") == "fetch_failed: timed out"


def test_connections_are_bounded_and_none_is_left_behind(server: Any) -> None:
    at_once, most, lock = 0, 0, threading.Lock()

    def respond(handler: Any) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        server.stopped.wait(0.01)
        with lock:
            at_once -= 1
        handler.wfile.write(OK)

    server.responses["/slow"] = respond
    fetcher = Fetcher(InputSettings(allow_private_addresses=True, max_connections=3))
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda _: fetcher.fetch(server.url + "/slow"), range(24)))
    assert most == 3
    assert server.connections <= 3
    assert fetcher.active == 0
    fetcher.close()


def test_a_fetch_that_gets_no_connection_in_time_times_out(server: Any) -> None:
    fetcher = Fetcher(InputSettings(allow_private_addresses=True, max_connections=1, fetch_attempts=1))
    server.responses["/slow"] = lambda handler: (server.stopped.wait(), handler.wfile.write(OK))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(fetcher.fetch, server.url + "/slow")
        server.wait_for_requests(1)
        with pytest.raises(ImageError, match="fetch_failed: timed out"):
            fetcher.fetch(server.url + "/slow", time.monotonic() + 0.05)
        server.stopped.set()
        assert slow.result(10).body == b"image"
    assert len(server.requests) == 1
