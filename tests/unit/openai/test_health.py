"""Readiness, and probes of servers that generate, refuse and hang."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from imagegen.openai.health import Health
from imagegen.openai.metrics import FrontendMetrics
from imagegen.openai.served_model import ServedModel
from imagegen.openai.settings import Settings
from imagegen.openai.triton_images import Completed, Event, Progress, TritonImages
from imagegen_client import ServerUnreachable
from tests.unit.openai.grpc_stand_in import completed, hangs, triton_stand_in

DONE = Completed([b"QUJD"], [7], {"model": "a-checkpoint"})


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class ScriptedTriton:
    """Does one thing after the other: an event is sent, an exception raised, None hangs."""

    def __init__(self, *script: Event | Exception | None) -> None:
        self._script = list(script)
        self.reconnects = 0

    async def events(self, *_: Any, **__: Any) -> AsyncIterator[Event]:
        step = self._script.pop(0)
        if step is None:
            await asyncio.Event().wait()
        if isinstance(step, Exception):
            raise step
        yield step or Progress(0, 0)

    def reconnect(self) -> None:
        self.reconnects += 1


def health(triton: Any, clock: Callable[[], float] | None = None, **settings: Any) -> Health:
    return Health(cast(TritonImages, triton), Settings(**settings), FrontendMetrics(), clock or Clock())


def test_ready_is_an_image_that_is_not_too_old() -> None:
    clock = Clock()
    watched = health(ScriptedTriton(DONE), clock, ready_within_s=90)
    assert watched.problem() == "no image has been generated yet, or not since the server was lost"
    asyncio.run(watched.probe())
    assert watched.problem() is None
    clock.now_s += 90
    assert watched.problem() is None
    clock.now_s += 1
    assert watched.problem() == "no image has been generated for 90 s"
    watched.generated()
    assert watched.problem() is None
    watched.lost()
    assert watched.problem() is not None
    watched.generated()
    watched.drain()
    assert watched.problem() == "shutting down"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ((None,), "no image within 0.05 s"),
        ((ServerUnreachable("connection refused"),), "connection refused"),
    ],
)
def test_a_failed_probe_is_logged_with_its_reason(
    script: tuple[Exception | None, ...], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    watched = health(ScriptedTriton(*script), ready_within_s=0.05)
    with caplog.at_level("WARNING"):
        asyncio.run(asyncio.wait_for(watched.probe(), 60))
    assert reason in caplog.records[0].__dict__["reason"]
    assert watched.problem() is not None


def test_a_probe_that_fails_unexpectedly_is_logged_and_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    watched = health(ScriptedTriton(RuntimeError("a bug"), DONE))
    asyncio.run(watched.probe())
    assert caplog.records[0].exc_info is not None
    asyncio.run(watched.probe())
    assert watched.problem() is None


def test_an_unreachable_server_makes_earlier_images_prove_nothing() -> None:
    watched = health(ScriptedTriton(DONE, ServerUnreachable("connection refused")))
    asyncio.run(watched.probe())
    asyncio.run(watched.probe())
    assert watched.problem() is not None


def test_the_first_image_has_a_short_deadline_that_grows_with_each_timeout() -> None:
    """Of a server that died while it started nothing comes; one that is slow must get its time all the same."""
    triton = ScriptedTriton(None, None, None, None, DONE)
    watched = health(triton, ready_within_s=0.05)
    deadlines = []
    watched._first_deadline_s = 0.01
    for _ in range(4):
        deadlines.append(watched.deadline_s())
        asyncio.run(asyncio.wait_for(watched.probe(), 60))
    assert deadlines == [0.01, 0.02, 0.04, 0.05]
    assert triton.reconnects == 4
    watched.generated()
    assert watched.deadline_s() == 0.05  # of a server that has proved to work
    assert health(triton, ready_within_s=90).deadline_s() == 10
    assert health(triton, ready_within_s=3).deadline_s() == 3


def test_a_server_that_hangs_at_the_first_image_is_asked_again_over_a_new_connection() -> None:
    """The diffusion process was killed while the frontend waited for its first image; nothing ended that wait."""

    async def run() -> None:
        peers: list[str] = []

        async def behave(request: Any, context: Any) -> AsyncIterator[Any]:
            peers.append(context.peer())
            if len(peers) == 1:
                async for nothing in hangs(request, context):
                    yield nothing
            yield completed()

        async with triton_stand_in(behave) as url:
            served_model = ServedModel(None)
            triton = TritonImages(url, "image_generation_stream", served_model)
            watched = health(triton)
            watched._first_deadline_s = 0.2
            probing = asyncio.create_task(watched.run())
            while watched.problem() is not None:
                await asyncio.sleep(0.01)
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)
            await triton.close()
        assert len(set(peers)) == 2
        assert served_model.id == "a-checkpoint"

    asyncio.run(asyncio.wait_for(run(), 60))
