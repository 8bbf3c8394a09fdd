"""All four clients distinguish a server that is not there from one that does not respond, with real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from imagegen_client import (
    AsyncHttpImageClient,
    AsyncImageClient,
    DeadlineExceeded,
    HttpImageClient,
    ImageClient,
    ServerUnreachable,
)

Generate = Callable[[str, float], Any]


def blocking(kind: type[Any]) -> Generate:
    def generate(url: str, timeout_s: float) -> Any:
        with kind(url) as client:
            return client.generate("x", timeout_s=timeout_s)

    return generate


def in_a_loop(kind: type[Any]) -> Generate:
    async def generate(url: str, timeout_s: float) -> Any:
        async with kind(url) as client:
            return await client.generate("x", timeout_s=timeout_s)

    return lambda url, timeout_s: asyncio.run(generate(url, timeout_s))


every_client = pytest.mark.parametrize(
    "generate",
    [
        pytest.param(blocking(ImageClient), id="grpc"),
        pytest.param(in_a_loop(AsyncImageClient), id="grpc-aio"),
        pytest.param(blocking(HttpImageClient), id="http"),
        pytest.param(in_a_loop(AsyncHttpImageClient), id="http-aio"),
    ],
)


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    """A port of ours on loopback that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


@every_client
def test_nobody_listens(generate: Generate, bound: socket.socket) -> None:
    with pytest.raises(ServerUnreachable, match=r"(?i)connect"):
        generate(f"127.0.0.1:{bound.getsockname()[1]}", 30.0)


@every_client
def test_a_server_that_never_responds(generate: Generate, bound: socket.socket) -> None:
    bound.listen()  # the system accepts the connection; nobody reads from it
    with pytest.raises(DeadlineExceeded):
        generate(f"127.0.0.1:{bound.getsockname()[1]}", 0.3)
