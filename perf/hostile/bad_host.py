"""A real HTTP host on loopback that no image is to be fetched from: it counts who connects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass
class BadHost:
    """The host.

    Attributes:
        url: its root.
        connections: that were made to it.
    """

    url: str = ""
    connections: int = 0


@asynccontextmanager
async def bad_host() -> AsyncIterator[BadHost]:
    """Run it; whoever connects gets a redirect to itself, again and again."""
    host = BadHost()

    async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host.connections += 1
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: {host.url}/loop\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    host.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield host
