"""Probes that find no server that draws."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from imagegen.openai.health import Health
from imagegen.openai.metrics import Measures
from imagegen.openai.settings import Settings
from imagegen.openai.triton_call import Event, Progress, TritonImages
from imagegen_client.errors import ServerUnreachable


class _Hangs:
    async def events(self, *_: Any, **__: Any) -> AsyncIterator[Event]:
        await asyncio.Event().wait()
        yield Progress(0, 0)


class _Refuses:
    async def events(self, *_: Any, **__: Any) -> AsyncIterator[Event]:
        raise ServerUnreachable("connection refused")
        yield Progress(0, 0)


@pytest.mark.parametrize(
    ("triton", "reason"), [(_Hangs(), "no image within 0.05 s"), (_Refuses(), "connection refused")]
)
def test_a_failed_probe_is_logged_with_its_reason(triton: Any, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    async def probe_once() -> str | None:
        health = Health(cast(TritonImages, triton), Settings(ready_within_s=0.05), Measures())
        running = asyncio.create_task(health.run())
        while not caplog.records:
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return health.problem()

    with caplog.at_level("WARNING"):
        assert asyncio.run(asyncio.wait_for(probe_once(), 30)) is not None
    assert reason in caplog.records[0].__dict__["reason"]
