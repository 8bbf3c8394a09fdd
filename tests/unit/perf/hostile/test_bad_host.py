"""Bad hosts are real: each path responds as it says, and nothing of them is left when they are closed."""

from __future__ import annotations

import asyncio

import pytest

from perf.hostile.bad_host import _ENDLESS, BAD_PATHS, bad_host, private_host


async def first_bytes(url: str, path: str, count: int) -> bytes:
    host, _, port = url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    try:
        return await reader.readexactly(count)
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("path", sorted(path for path, begin in BAD_PATHS.items() if begin))
def test_a_path_responds_as_it_says(path: str) -> None:
    async def ask() -> None:
        async with bad_host() as host:
            expected = BAD_PATHS[path].replace(b"ROOT", host.url.encode()) + 3 * _ENDLESS.get(path, (b"", 0))[0]
            assert await first_bytes(host.url, path, len(expected)) == expected
            assert host.connections == 1

    asyncio.run(ask())


def test_whoever_connects_is_counted() -> None:
    async def ask() -> int:
        async with private_host() as host:
            for _ in range(3):
                assert (await first_bytes(host.url, "image.png", 12)).startswith(b"HTTP/1.1 404")
            return host.connections

    assert asyncio.run(ask()) == 3
