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
from imagegen_client import InvalidArgument, ModelDescription, ServerUnreachable
from tests.unit.client.test_client_description import DESCRIPTION
from tests.unit.openai.grpc_stand_in import completed, hangs, triton_stand_in
from tests.unit.openai.virtual_time import run_in_virtual_time

DONE = Completed([b"QUJD"], [7], {"model": "a-checkpoint"})


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class ScriptedTriton:
    """Does one thing after the other: an event is sent, an exception raised, None hangs.

    Args:
        script: one for each request.
        keepalives: how often each request is sent its progress before, once a second.
        description: of its model; an exception is raised, None is what an earlier release says.
    """

    def __init__(
        self,
        *script: Event | Exception | None,
        keepalives: int = 0,
        description: ModelDescription | Exception | None = None,
    ) -> None:
        self._script = list(script)
        self._keepalives = keepalives
        self._description = description
        self.reconnects = 0
        self.sent: list[dict[str, Any]] = []

    async def describe(self) -> ModelDescription | None:
        if isinstance(self._description, Exception):
            raise self._description
        return self._description

    async def events(self, values: dict[str, Any], *request: Any, progress: bool) -> AsyncIterator[Event]:
        assert progress, "without it there are no keepalives"
        self.sent.append(values)
        for _ in range(self._keepalives):
            await asyncio.sleep(1)
            yield Progress(0, 1)
        step = self._script.pop(0)
        if step is None:
            await asyncio.Event().wait()
        if isinstance(step, Exception):
            raise step
        assert step is not None
        yield step

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


def test_the_probe_is_of_a_task_that_the_model_does() -> None:
    """It was text-to-image whatever the model: one that only inpaints never became ready."""
    triton = ScriptedTriton(DONE, description=DESCRIPTION)
    watched = health(triton)
    asyncio.run(watched.probe())
    assert watched.problem() is None
    assert {"image", "mask", "strength"} <= triton.sent[0].keys()


def test_a_server_that_is_lost_when_asked_for_its_model_makes_earlier_images_prove_nothing() -> None:
    watched = health(ScriptedTriton(description=ServerUnreachable("connection refused")))
    watched.generated()
    asyncio.run(watched.probe())
    assert watched.problem() is not None


def test_a_scheduler_that_needs_more_steps_gets_them_in_the_next_probe() -> None:
    refused = InvalidArgument("euler_ancestral gives no image in 1 step", "num_inference_steps")
    triton = ScriptedTriton(refused, InvalidArgument("some other field", "size"), refused, DONE)
    watched = health(triton)
    for _ in range(4):
        asyncio.run(watched.probe())
    assert [values["num_inference_steps"] for values in triton.sent] == [1, 2, 2, 3]
    assert watched.problem() is None


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


def test_a_slow_first_image_is_waited_for_while_there_is_progress() -> None:
    """It was cancelled after 10, 20 and 40 s, though a device that is slow may be well."""
    triton = ScriptedTriton(DONE, keepalives=60)
    watched = health(triton)
    assert run_in_virtual_time(watched.probe()) == 60
    assert watched.problem() is None
    assert triton.reconnects == 0


@pytest.mark.parametrize(
    ("keepalives", "ready_within_s", "given_up_s", "reason"),
    [
        (0, 90, 10, "no event for 10 s"),
        (3, 90, 13, "no event for 10 s"),
        (3, 5, 5, "no image within 5 s"),
        (200, 90, 90, "no image within 90 s"),
    ],
)
def test_a_first_image_is_given_up_when_the_server_falls_silent_and_when_it_comes_too_late(
    keepalives: int, ready_within_s: float, given_up_s: float, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    triton = ScriptedTriton(None, keepalives=keepalives)
    watched = health(triton, ready_within_s=ready_within_s)
    assert run_in_virtual_time(watched.probe()) == given_up_s
    assert caplog.records[0].__dict__["reason"] == reason
    assert triton.reconnects == 1
    assert watched.problem() is not None


def test_a_server_that_has_generated_an_image_may_be_silent_for_longer() -> None:
    watched = health(ScriptedTriton(None))
    watched.generated()
    assert run_in_virtual_time(watched.probe()) == 90


def test_a_server_that_hangs_at_the_first_image_is_asked_again_over_a_new_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The diffusion process was killed while the frontend waited for its first image; nothing ended that wait."""
    monkeypatch.setattr("imagegen.openai.health._FIRST_SILENCE_S", 0.2)

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
            probing = asyncio.create_task(watched.run())
            while watched.problem() is not None:
                await asyncio.sleep(0.01)
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)
            await triton.close()
        assert len(set(peers)) == 2
        assert served_model.id == "a-checkpoint"

    asyncio.run(asyncio.wait_for(run(), 60))
