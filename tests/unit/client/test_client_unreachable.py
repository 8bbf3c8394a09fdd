"""All four clients tell a server that is not there from one that does not answer, with real sockets."""

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

Ask = Callable[[str, float], Any]


def blocking(kind: type[Any]) -> Ask:
    def ask(url: str, timeout_s: float) -> Any:
        with kind(url) as client:
            return client.generate("x", timeout_s=timeout_s)

    return ask


def in_a_loop(kind: type[Any]) -> Ask:
    async def ask(url: str, timeout_s: float) -> Any:
        async with kind(url) as client:
            return await client.generate("x", timeout_s=timeout_s)

    return lambda url, timeout_s: asyncio.run(ask(url, timeout_s))


every_client = pytest.mark.parametrize(
    "ask",
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
def test_nobody_listens(ask: Ask, bound: socket.socket) -> None:
    with pytest.raises(ServerUnreachable, match=r"(?i)connect"):
        ask(f"127.0.0.1:{bound.getsockname()[1]}", 30.0)


@every_client
def test_a_server_that_never_answers(ask: Ask, bound: socket.socket) -> None:
    bound.listen()  # the system accepts the connection; nobody reads from it
    with pytest.raises(DeadlineExceeded):
        ask(f"127.0.0.1:{bound.getsockname()[1]}", 0.3)
