"""Clients that stall anywhere are ended within a short time that is set here, and nobody else is hurt."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.service.http_pieces import connect, head, json_request, read_response
from tests.unit.openai.grpc_stand_in import completed, message
from tests.unit.openai.running_frontend import arrays_of, running_frontend

GENERATIONS = "/v1/images/generations"
LARGE = "A" * 4_000_000
LEAST_BYTES = 12_000_000  # what the machine's own buffers cannot hold


class LargeTriton:
    """Completes a request at once; one for "previews" gets large ones without end, one for "large" large images.

    Attributes:
        cancelled: how many requests have been cancelled.
    """

    def __init__(self) -> None:
        self.cancelled = 0

    async def __call__(self, request: Any, context: Any) -> AsyncIterator[Any]:
        prompt = arrays_of(request)["prompt"][0]
        if prompt == b"large":
            done = completed(n=5)
            images = message(generated_image=[LARGE] * 5).infer_response
            done.infer_response.raw_output_contents[1] = images.raw_output_contents[0]
            yield done
            return
        if prompt == b"previews":
            context.add_done_callback(self._ended)
            while True:
                yield message(event=["preview"], preview=[LARGE[:500_000]], preview_index=[0])
        yield completed()

    def _ended(self, _: Any) -> None:
        self.cancelled += 1  # nothing else ends it


@pytest.fixture(scope="module")
def triton() -> LargeTriton:
    return LargeTriton()


@pytest.fixture(scope="module")
def url(triton: LargeTriton) -> Iterator[str]:
    with running_frontend(triton, "--body-timeout-s", "0.3") as running:
        yield running


def dribble(connection: socket.socket, data: bytes) -> bytes:
    """Send byte after byte, the last one again and again, until the server responds or ends the connection.

    Returns what it sent; nothing for an end alone.
    """
    for index in range(1000):
        if select.select([connection], [], [], 0.02)[0]:
            break
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.send(data[min(index, len(data) - 1) :][:1])
    else:
        raise AssertionError("it goes on for ever")
    with contextlib.suppress(ConnectionResetError):
        return connection.recv(65536)
    return b""


def test_a_client_that_sends_nothing(url: str) -> None:
    with connect(url) as connection:
        assert connection.recv(1) == b""


@pytest.mark.parametrize("sent", [b"G", b"GET /health/live HTTP/1.1\r\nHost: he", b"\r\n"])
def test_a_client_that_stalls_within_the_head(url: str, sent: bytes) -> None:
    with connect(url) as connection:
        connection.sendall(sent)
        status, headers, body = read_response(connection)
        assert (status, headers["connection"]) == (408, "close")
        assert json.loads(body)["error"]["code"] == "timeout"
        assert connection.recv(1) == b""


@pytest.mark.parametrize("data", [b"GET /health/live HTTP/1.1\r\nA: " + b"b" * 999, b"\r\n" * 99])
@pytest.mark.parametrize("before", [b"", b"GET /health/live HTTP/1.1\r\nHost: here\r\n\r\n"], ids=["first", "second"])
def test_a_client_that_sends_its_head_byte_by_byte(url: str, data: bytes, before: bytes) -> None:
    with connect(url) as connection:
        if before:
            connection.sendall(before)
            assert read_response(connection)[0] == 200
        assert dribble(connection, data).startswith(b"HTTP/1.1 408 ")


def test_a_client_that_sends_its_body_byte_by_byte(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(head(GENERATIONS, "application/json", 10_000))
        assert dribble(connection, b" ").startswith(b"HTTP/1.1 408 ")
        assert connection.recv(1) == b""


def test_a_client_that_goes_on_with_a_body_that_was_refused(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(head(GENERATIONS, "text/plain", 10_000))
        assert read_response(connection)[0] == 415
        assert dribble(connection, b" ") == b"" or connection.recv(1) == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nA: " + b"b" * 70_000,
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 12_000,
        b"GET /" + b"a" * 70_000,
        b"\r\n" * 40_000,
    ],
)
def test_a_head_without_end(url: str, sent: bytes) -> None:
    with connect(url) as connection:
        connection.sendall(sent)
        assert read_response(connection)[0] == 431


def test_fields_behind_a_body_without_end(url: str) -> None:
    request = head(GENERATIONS, "application/json", 0, "Transfer-Encoding: chunked")
    request = request.replace(b"Content-Length: 0\r\n", b"")
    with connect(url) as connection:
        connection.sendall(request + b"1\r\n{\r\n0\r\n" + b"A: b\r\n" * 40_000)
        assert read_response(connection)[0] == 431


def unread(url: str, prompt: str, **fields: Any) -> socket.socket:
    """A connection with a request whose response nobody reads, by way of a window of a few kilobytes."""
    parts = urlsplit(url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(60)
    connection.connect((parts.hostname, parts.port))
    connection.sendall(json_request(GENERATIONS, {"prompt": prompt, **fields}))
    return connection


def is_well(url: str) -> bool:
    with connect(url) as connection:
        connection.sendall(json_request(GENERATIONS, {"prompt": "x"}))
        return read_response(connection)[0] == 200


def what_is_left(connection: socket.socket) -> int:
    """How much more comes until the connection ends."""
    count = 0
    with contextlib.suppress(ConnectionResetError):
        while received := connection.recv(1 << 20):
            count += len(received)
    return count


def test_a_stream_that_is_not_read_ends_and_its_generation_is_cancelled(url: str, triton: LargeTriton) -> None:
    before = triton.cancelled
    with unread(url, "previews", stream=True, partial_images=3) as connection:
        assert is_well(url)
        deadline_s = time.monotonic() + 60
        while triton.cancelled == before:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        assert what_is_left(connection) < LEAST_BYTES


def test_an_image_that_is_not_read_is_given_up(url: str) -> None:
    with unread(url, "large", n=5) as connection:
        assert is_well(url)
        wait_until_reset(connection)
        assert what_is_left(connection) < LEAST_BYTES


def test_an_image_that_is_read_byte_by_byte_is_given_up(url: str) -> None:
    with unread(url, "large", n=5) as connection:
        for _ in range(1000):
            if is_reset(connection):
                break
            connection.recv(1)
            time.sleep(0.01)
        else:
            raise AssertionError("it goes on for ever")


def test_a_client_that_reads_slowly_gets_all(url: str) -> None:
    """Longer than it may stall: what counts is that it reads."""
    with unread(url, "large", n=5) as connection:
        begun_s = time.monotonic()
        count = 0
        while count < 5 * len(LARGE):
            count += len(connection.recv(100_000))
            if time.monotonic() - begun_s < 1:
                time.sleep(0.02)
        assert time.monotonic() - begun_s > 1


def is_reset(connection: socket.socket) -> bool:
    """Whether the server has given the connection up: it says so beside what waits to be read."""
    poll = select.poll()
    poll.register(connection, select.POLLERR | select.POLLHUP)
    return bool(poll.poll(0))


def wait_until_reset(connection: socket.socket) -> None:
    poll = select.poll()
    poll.register(connection, select.POLLERR | select.POLLHUP)
    assert poll.poll(60_000)
