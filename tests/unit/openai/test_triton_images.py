"""Requests over real gRPC: what is sent, which events come of it, and on which connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from imagegen.openai import triton_images
from imagegen.openai.served_model import ServedModel
from imagegen.openai.triton_images import Completed, Event, Preview, Progress, TritonImages
from imagegen_client import (
    ImageGenerationError,
    InternalError,
    InvalidArgument,
    ModelDescription,
    ServerUnreachable,
)
from tests.unit.client.test_client_description import DESCRIPTION
from tests.unit.openai.grpc_stand_in import Behaviour, completed, completes, failure, hangs, message, triton_stand_in

VALUES = {"prompt": "a red circle", "n": None, "seed": 7}


async def collect(triton: TritonImages, values: dict[str, Any] = VALUES, **options: Any) -> list[Event]:
    async with aclosing(triton.events(values, 2, "order-66", **options)) as events:
        return [event async for event in events]


def generate(behave: Behaviour, served_model: ServedModel | None = None, **options: Any) -> list[Event]:
    async def run() -> list[Event]:
        async with triton_stand_in(behave) as url:
            triton = TritonImages(url, "a_model", served_model or ServedModel(None))
            try:
                return await collect(triton, **options)
            finally:
                await triton.close()

    return asyncio.run(asyncio.wait_for(run(), 60))


async def everything(request: Any, context: Any) -> AsyncIterator[Any]:
    yield message(event=["progress"], step=[1], total_steps=[2])
    yield message(event=["preview"], preview=["UFJF"], preview_index=[1])
    yield completed()


def test_each_response_is_an_event() -> None:
    progress, preview, done = generate(everything, progress=True)
    assert progress == Progress(1, 2)
    assert preview == Preview(b"UFJF", 1)
    assert isinstance(done, Completed)
    assert (done.images, done.seeds, done.metadata["size"]) == ([b"QUJD"], [7], "128x128")


@pytest.mark.parametrize("progress", [False, True])
def test_what_is_sent(progress: bool) -> None:
    sent: list[Any] = []

    async def behave(request: Any, context: Any) -> AsyncIterator[Any]:
        sent.append(request)
        yield completed()

    generate(behave, progress=progress)
    (request,) = sent
    assert (request.model_name, request.id) == ("a_model", "order-66")
    assert {tensor.name for tensor in request.inputs} == {"prompt", "seed", "partial_images"}
    asked = {tensor.name for tensor in request.outputs}
    assert {"event", "generated_image", "used_seed", "metadata"} <= asked
    assert ("step" in asked) == progress  # without it the model sends none


@pytest.mark.parametrize("asked", [None, False, True])
def test_control_images_come_back_only_where_they_are_asked_for(asked: bool | None) -> None:
    """A server of an earlier release has no such output, and would refuse a request for it."""
    sent: list[Any] = []

    async def behave(request: Any, context: Any) -> AsyncIterator[Any]:
        sent.append(request)
        used = {"used_control_image": ["QQ==", "Qg=="]} if asked else {}
        yield message(event=["completed"], generated_image=["QUJD"], used_seed=[7], metadata=["{}"], **used)

    (done,) = generate(behave, values=VALUES | {"control_image": [b"a", b"b"], "return_control": asked})
    assert isinstance(done, Completed)
    assert done.control_images == ((b"QQ==", b"Qg==") if asked else ())
    assert ("used_control_image" in {tensor.name for tensor in sent[0].outputs}) == bool(asked)


def test_the_checkpoints_name_is_learnt() -> None:
    served_model = ServedModel(None)
    generate(completes, served_model)
    assert served_model.id == "a-checkpoint"


@pytest.mark.parametrize(
    "unreadable",
    [
        message(event=["completed"], generated_image=["QUJD"], used_seed=[7]),
        message(event=["completed"], generated_image=["QUJD"], used_seed=[7], metadata=["{"]),
        message(event=["preview"]),
    ],
)
def test_a_response_that_cannot_be_read_is_an_internal_error(unreadable: Any) -> None:
    async def behave(request: Any, context: Any) -> AsyncIterator[Any]:
        yield unreadable

    with pytest.raises(InternalError, match="cannot be read"):
        generate(behave)


def test_a_refusal_is_raised() -> None:
    async def behave(request: Any, context: Any) -> AsyncIterator[Any]:
        yield failure("invalid_argument: size: 7x7 is not allowed")

    with pytest.raises(InvalidArgument) as refused:
        generate(behave)
    assert refused.value.field == "size"


def test_a_stream_that_ends_early_is_an_error() -> None:
    async def behave(request: Any, context: Any) -> AsyncIterator[Any]:
        yield message(event=["progress"], step=[1], total_steps=[2])
        await context.abort(14, "Socket closed")

    with pytest.raises(ImageGenerationError):
        generate(behave)


def test_leaving_early_cancels_on_the_server() -> None:
    async def run() -> None:
        cancelled = asyncio.Event()

        async def behave(request: Any, context: Any) -> AsyncIterator[Any]:
            yield message(event=["progress"], step=[1], total_steps=[2])
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async with triton_stand_in(behave) as url:
            triton = TritonImages(url, "a_model", ServedModel(None))
            async with aclosing(triton.events(VALUES, 0, "a", progress=True)) as events:
                assert await anext(events) == Progress(1, 2)
            await cancelled.wait()
            await triton.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_new_connection_leaves_the_streams_of_the_old_one_alone() -> None:
    async def run() -> list[str]:
        peers: list[str] = []
        go_on = asyncio.Event()

        async def behave(request: Any, context: Any) -> AsyncIterator[Any]:
            peers.append(context.peer())
            yield message(event=["progress"], step=[1], total_steps=[2])
            await go_on.wait()
            yield completed()

        async with triton_stand_in(behave) as url:
            triton = TritonImages(url, "a_model", ServedModel(None))
            first = triton.events(VALUES, 0, "a", progress=True)
            await anext(first)
            triton.reconnect()
            second = triton.events(VALUES, 0, "b", progress=True)
            await anext(second)
            go_on.set()
            for events in (first, second):
                assert isinstance(await anext(events), Completed)
                await events.aclose()
            await triton.close()
        return peers

    first, second = asyncio.run(asyncio.wait_for(run(), 60))
    assert first != second


def test_a_server_that_hangs_is_left_by_cancelling() -> None:
    async def run() -> None:
        async with triton_stand_in(hangs) as url:
            triton = TritonImages(url, "a_model", ServedModel(None))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await collect(triton)
            await triton.close()

    asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize(
    ("text", "expected"), [(DESCRIPTION.to_json(), DESCRIPTION), (None, None), (b"no description", None)]
)
def test_the_served_model_is_learnt_from_what_the_server_says(
    text: bytes | None, expected: ModelDescription | None
) -> None:
    async def run() -> None:
        async with triton_stand_in(completes, text) as url:
            served_model = ServedModel(None)
            triton = TritonImages(url, "a_model", served_model)
            assert await triton.describe() == expected
            assert (served_model.capabilities() is None) == (expected is None)
            await triton.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_server_that_cannot_be_asked_is_unreachable() -> None:
    async def run() -> None:
        triton = TritonImages("127.0.0.1:1", "a_model", ServedModel(None))
        with pytest.raises(ServerUnreachable):
            await triton.describe()
        await triton.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_what_is_on_offer_is_learnt_at_once_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    offering = replace(DESCRIPTION, loras=("dusk",))

    class Silent(TritonImages):
        async def describe(self) -> ModelDescription | None:
            await asyncio.Event().wait()
            return None

    async def run() -> None:
        served_model = ServedModel(None)
        async with triton_stand_in(completes, offering.to_json()) as url:
            triton = TritonImages(url, "a_model", served_model)
            await triton.learn_offer()
            assert served_model.knows("dusk")
            await triton.close()
        monkeypatch.setattr(triton_images, "_OFFER_TIMEOUT_S", 0.05)
        for other in (TritonImages("127.0.0.1:1", "a_model", served_model), Silent("127.0.0.1:1", "m", served_model)):
            await other.learn_offer()
            assert served_model.knows("dusk")
            await other.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_an_administrators_command_goes_with_its_names() -> None:
    class Client:
        async def administrate(self, *given: Any, **named: Any) -> dict[str, Any]:
            return {"given": given, "named": {name: value for name, value in named.items() if value is not None}}

    async def run() -> dict[str, Any]:
        triton = TritonImages("127.0.0.1:1", "a_model", ServedModel(None))
        await triton.close()
        triton._client = Client()  # type: ignore[assignment]
        return await triton.administrate("load_lora", "secret", lora_name="a", lora_path="/a")

    sent = asyncio.run(asyncio.wait_for(run(), 60))
    assert sent == {"given": ("load_lora", "secret"), "named": {"lora_name": "a", "lora_path": "/a"}}
