"""Readiness, and probes of servers that generate, refuse and hang."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
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
        description: ModelDescription | Exception | None = DESCRIPTION,
    ) -> None:
        self._script = list(script)
        self._keepalives = keepalives
        self.description = description
        self.reconnects = 0
        self.sent: list[dict[str, Any]] = []

    async def describe(self) -> ModelDescription | None:
        if isinstance(self.description, TimeoutError):
            await asyncio.Event().wait()
        if isinstance(self.description, Exception):
            raise self.description
        return self.description

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


def health(triton: Any, **settings: Any) -> Health:
    return Health(cast(TritonImages, triton), Settings(**settings), FrontendMetrics())


def alive(quiet_s: float | None) -> ModelDescription:
    return replace(DESCRIPTION, quiet_s=quiet_s)


def test_ready_is_one_image_and_an_engine_that_lives_ever_since() -> None:
    triton = ScriptedTriton(DONE)
    watched = health(triton, ready_within_s=300)
    assert watched.problem() == "no image has been generated yet"
    asyncio.run(watched.probe())
    assert watched.problem() is None
    for quiet_s, problem in (
        (0.4, None),
        (299.0, None),  # a step of a large model on a CPU
        (301.0, "the engine has finished no step for 301 s"),
        (0.1, None),
        (None, None),  # a server of an earlier release
    ):
        triton.description = alive(quiet_s)
        asyncio.run(watched.look())
        assert watched.problem() == problem
    watched.drain()
    assert watched.problem() == "shutting down"


@pytest.mark.parametrize("lost", [ServerUnreachable("connection refused"), TimeoutError()])
def test_a_server_that_was_lost_has_to_prove_itself_again(lost: Exception) -> None:
    triton = ScriptedTriton(DONE, DONE)
    watched = health(triton)
    asyncio.run(watched.probe())
    triton.description = lost
    assert run_in_virtual_time(watched.look()) <= 10
    assert watched.problem() is not None
    triton.description = alive(0.1)
    asyncio.run(watched.probe())
    assert watched.problem() is None


def test_a_request_that_lost_the_server_makes_it_not_ready_at_once() -> None:
    watched = health(ScriptedTriton())
    watched.generated()
    watched.lost()
    assert watched.problem() == "the image server cannot be reached"


def test_no_image_is_generated_while_the_engine_lives() -> None:
    """One every 30 s took a third of a slow device."""
    triton = ScriptedTriton(DONE, description=alive(0.1))
    watched = health(triton)

    async def ten_minutes() -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(watched.run(), 600)

    run_in_virtual_time(ten_minutes())
    assert len(triton.sent) == 1
    assert watched.problem() is None


@pytest.mark.parametrize(
    ("script", "reason"),
    [((None,), "no event for 10 s"), ((ServerUnreachable("connection refused"),), "connection refused")],
)
def test_a_failed_probe_is_logged_with_its_reason(
    script: tuple[Exception | None, ...], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    watched = health(ScriptedTriton(*script))
    with caplog.at_level("WARNING"):
        run_in_virtual_time(watched.probe())
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


@pytest.mark.parametrize(("keepalives", "given_up_s"), [(0, 10), (3, 13), (200, 210)])
def test_a_first_image_is_given_up_when_the_server_falls_silent(
    keepalives: int, given_up_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    """Not when it is slow: others may have the device for minutes, and nothing is ended for that."""
    triton = ScriptedTriton(None, keepalives=keepalives)
    watched = health(triton)
    assert run_in_virtual_time(watched.probe()) == given_up_s
    assert caplog.records[0].__dict__["reason"] == "no event for 10 s"
    assert triton.reconnects == 1
    assert watched.problem() is not None


def test_a_server_that_hangs_at_the_first_image_is_asked_again_over_a_new_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The diffusion process was killed while the frontend waited for its first image; nothing ended that wait."""
    monkeypatch.setattr("imagegen.openai.health._SILENCE_S", 0.2)

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


def test_a_model_that_was_put_to_sleep_is_not_ready_and_says_so_without_a_probe() -> None:
    triton = ScriptedTriton(DONE, description=replace(alive(0.1), asleep=True))
    watched = health(triton)
    asyncio.run(watched.probe())
    assert watched.problem() == "the model is asleep; an administrator can wake it"
    assert not triton.sent
    triton.description = alive(0.1)
    asyncio.run(watched.probe())
    assert watched.problem() is None
    triton.description = replace(alive(0.1), asleep=True)
    asyncio.run(watched.look())
    assert watched.problem() == "the model is asleep; an administrator can wake it"
    triton.description = alive(0.1)
    asyncio.run(watched.look())
    assert watched.problem() is None
