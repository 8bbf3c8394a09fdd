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


def dribble(connections: dict[socket.socket, bytes]) -> dict[socket.socket, bytes]:
    """Send byte after byte over each, the last one again and again, until the server responds or ends the connection.

    Returns what it sent over each; nothing for an end alone.
    """
    received: dict[socket.socket, bytes] = {}
    for index in range(1000):
        waiting = [one for one in connections if one not in received]
        if not waiting:
            return received
        for connection in select.select(waiting, [], [], 0.02)[0]:
            with contextlib.suppress(ConnectionResetError):
                received[connection] = b""
                received[connection] = connection.recv(65536)
        for connection in (one for one in waiting if one not in received):
            data = connections[connection]
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.send(data[min(index, len(data) - 1) :][:1])
    raise AssertionError("it goes on for ever")


def test_clients_that_stall_before_or_within_the_head(url: str) -> None:
    beginnings = [b"", b"G", b"GET /health/live HTTP/1.1\r\nHost: he", b"\r\n"]
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(url)) for _ in beginnings]
        for connection, sent in zip(connections, beginnings, strict=True):
            connection.sendall(sent)
        for connection in connections[1:]:
            status, headers, body = read_response(connection)
            assert (status, headers["connection"]) == (408, "close")
            assert json.loads(body)["error"]["code"] == "timeout"
        assert [connection.recv(1) for connection in connections] == [b""] * 4


def test_clients_that_send_byte_by_byte(url: str) -> None:
    """A head, the first one or the second; empty lines; a body; and the rest of a body that was refused."""
    begun_head, empty_lines = b"GET /health/live HTTP/1.1\r\nA: " + b"b" * 999, b"\r\n" * 99
    whole = b"GET /health/live HTTP/1.1\r\nHost: here\r\n\r\n"
    clients: list[tuple[bytes, int | None, bytes, bytes]] = [
        (b"", None, begun_head, b"HTTP/1.1 408 "),
        (b"", None, empty_lines, b"HTTP/1.1 408 "),
        (whole, 200, begun_head, b"HTTP/1.1 408 "),
        (whole, 200, empty_lines, b"HTTP/1.1 408 "),
        (head(GENERATIONS, "application/json", 10_000), None, b" ", b"HTTP/1.1 408 "),
        (head(GENERATIONS, "text/plain", 10_000), 415, b" ", b""),
    ]
    with contextlib.ExitStack() as stack:
        sending: dict[socket.socket, bytes] = {}
        for first, status, data, _ in clients:
            connection = stack.enter_context(connect(url))
            connection.sendall(first)
            if status is not None:
                assert read_response(connection)[0] == status
            sending[connection] = data
        received = dribble(sending)
        for (*_, expected), connection in zip(clients, sending, strict=True):
            assert received[connection].startswith(expected)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""


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
