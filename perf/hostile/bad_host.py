"""Real HTTP hosts on loopback: one that must see no connection, and one that responds as badly as a host can."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

_HOST = "127.0.0.1"
_MIB = 2**20


@dataclass
class Host:
    """A host.

    Attributes:
        url: its root.
        connections: that were made to it.
    """

    url: str = ""
    connections: int = 0


@asynccontextmanager
async def private_host() -> AsyncIterator[Host]:
    """One that has nothing to offer and counts who connects."""

    async def respond(host: Host, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    async with _host(respond) as host:
        yield host


@asynccontextmanager
async def bad_host() -> AsyncIterator[Host]:
    """One that responds by path as `BAD_PATHS` says, none of them with an image."""

    async def respond(host: Host, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readline()).split(b" ")[1].decode("latin-1").strip("/")
        writer.write(BAD_PATHS.get(path, b"").replace(b"ROOT", host.url.encode()))
        while path in _ENDLESS:
            piece, every_s = _ENDLESS[path]
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(every_s)

    async with _host(respond) as host:
        yield host


_OK = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
_BOMB = gzip.compress(bytes(64 * _MIB), 9)  # 64 KiB, of which a thousand times as much comes
BAD_PATHS = {
    "loop": b"HTTP/1.1 302 Found\r\nLocation: ROOT/loop\r\nContent-Length: 0\r\n\r\n",
    "to-a-file": b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n",
    "to-nowhere": b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
    "to-nonsense": b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
    "silent": b"",
    "endless": _OK + b"\r\n",
    "endless-chunks": _OK + b"Transfer-Encoding: chunked\r\n\r\n",
    "endless-head": b"HTTP/1.1 200 OK\r\n",
    "slow": _OK + b"Content-Length: 1000000\r\n\r\n",
    "slow-head": b"HTTP/1.1 ",
    "long-line": b"HTTP/1.1 200 " + b"O" * 500_000,
    "cut": _OK + b"Content-Length: 5000\r\n\r\n\x89PNG\r\n\x1a\n",
    "claims-much": _OK + b"Content-Length: 999999999999\r\n\r\nx",
    "claims-less-than-nothing": _OK + b"Content-Length: -5\r\n\r\nx",
    "bad-chunks": _OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nx",
    "bomb": _OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(_BOMB) + _BOMB,
    "no-http": b"SSH-2.0-OpenSSH_9.2\r\n",
    "html": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
    "nothing": _OK + b"Content-Length: 0\r\n\r\n",
    "failing": b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
    "busy": b"HTTP/1.1 429 Busy\r\nRetry-After: 99999999999\r\nContent-Length: 0\r\n\r\n",
    "partial": b"HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\nx",
    "odd-status": b"HTTP/1.1 999 ?\r\nContent-Length: 0\r\n\r\n",
}
"""What comes at once, by path, before the connection is closed or what is `_ENDLESS` follows."""

_ENDLESS: dict[str, tuple[bytes, float]] = {
    "silent": (b"", 60),
    "endless": (bytes(65_536), 0),
    "endless-chunks": (b"1000\r\n" + bytes(4096) + b"\r\n", 0),
    "endless-head": (b"X-Header: value\r\n" * 100, 0),
    "slow": (b"x", 0.05),
    "slow-head": (b"2", 0.05),
}
"""What then comes again and again, and how many seconds lie between."""

_Respond = Callable[[Host, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def _host(respond: _Respond) -> AsyncIterator[Host]:
    host = Host()
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host.connections += 1
        try:
            with contextlib.suppress(OSError, ValueError, IndexError):  # they leave when they have had enough
                await respond(host, reader, writer)
                await writer.drain()
        finally:
            writer.close()

    def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        running.add(task)
        task.add_done_callback(running.discard)

    server = await asyncio.start_server(start, _HOST, 0)
    host.url = f"http://{_HOST}:{server.sockets[0].getsockname()[1]}"
    try:
        yield host
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.sleep(0)  # for the connections to close
