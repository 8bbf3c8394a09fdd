"""Clients that leave, and cancels by id: the batch is left within a step, and nothing stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY, other_checkpoint
from imagegen_client import (
    AsyncImageClient,
    Cancelled,
    GenerateResult,
    HttpImageClient,
    ImageClient,
    Progress,
)
from tests.service.conftest import PATIENT, repository_with, tensors
from tests.service.http_pieces import reset
from tests.service.resettable_connection import ResettableConnection
from tests.service.server_metrics import active, let_metrics_arrive, metric, news, steps, wait_until

STEPS = 50
LONG: dict[str, Any] = {"num_inference_steps": STEPS, "size": "768x768"}  # a step takes much longer than to notice


@pytest.fixture(scope="module")
def two_slots(random_checkpoint: str) -> Iterator[EmbeddedServer]:
    """A server that generates two requests at a time."""
    parameters = {
        **PATIENT,
        "diffusion.max_active_requests": "2",
        **other_checkpoint(random_checkpoint),
    }
    with EmbeddedServer(MODEL_REPOSITORY, parameters=parameters) as server:
        yield server


@pytest.fixture
def settled(two_slots: EmbeddedServer) -> Iterator[EmbeddedServer]:
    """The server when it generates nothing and has counted everything; afterwards it is not left with work."""
    wait_until(lambda: active(two_slots) == 0)
    let_metrics_arrive(two_slots)
    yield two_slots
    wait_until(lambda: active(two_slots) == 0)


def steps_after(server: EmbeddedServer, before: float) -> float:
    """Steps that were made since `before` when the last request has left."""
    wait_until(lambda: active(server) == 0)
    own = let_metrics_arrive(server)
    return steps(server) - before - own


def http_stream(address: str) -> socket.socket:
    """A connection over which a long stream has been asked for."""
    host, port = address.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), timeout=60)
    body = json.dumps({"prompt": "x", "response_format": "b64_json", **LONG}).encode()
    connection.sendall(
        b"POST /v2/models/image_generation_stream/generate_stream HTTP/1.1\r\nHost: x\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    return connection


def read_until(connection: socket.socket, text: bytes) -> None:
    received = b""
    while text not in received:
        data = connection.recv(65536)
        assert data, received
        received += data


def test_a_killed_grpc_client_frees_its_slot_within_a_step(settled: EmbeddedServer) -> None:
    before = steps(settled)
    relay = ResettableConnection(settled.grpc_url)
    events: list[Any] = []
    heard = threading.Event()

    def listen() -> None:
        with ImageClient(relay.address) as client, contextlib.suppress(Exception):
            for event in client.stream("x", **LONG):
                events.append(event)
                if event == Progress(3, STEPS):
                    heard.set()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert heard.wait(60)
    relay.reset()
    # The third step was done and the fourth under way; one more may begin before the news has come.
    assert 3 <= steps_after(settled, before) <= 5
    thread.join()
    assert metric(settled, "imagegen_diffusion_cancellations_total") >= 1


def test_a_killed_http_client_frees_its_slot_within_a_step_of_the_next_event(settled: EmbeddedServer) -> None:
    before = steps(settled)
    connection = http_stream(settled.http_url)
    read_until(connection, b'"step":3,')
    reset(connection)
    # Triton notices when it writes the next event.
    assert 3 <= steps_after(settled, before) <= 6


def test_a_closed_stream_is_cancelled(settled: EmbeddedServer) -> None:
    before = steps(settled)
    with ImageClient(settled.grpc_url) as client, closing(client.stream("x", n=2, **LONG)) as events:
        next(event for event in events if event == Progress(2, STEPS))
    assert steps_after(settled, before) <= 2 * 5


def test_a_cancelled_call_of_asyncio_is_cancelled_on_the_server(settled: EmbeddedServer) -> None:
    before = steps(settled)

    async def leave() -> None:
        async with AsyncImageClient(settled.grpc_url) as client:
            async for event in client.stream("x", **LONG):
                if event == Progress(2, STEPS):
                    raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(leave())
    assert steps_after(settled, before) <= 4


@pytest.mark.parametrize("kind", ["unary gRPC", "unary HTTP", "stream"])
def test_any_request_can_be_cancelled_by_its_id(settled: EmbeddedServer, kind: str) -> None:
    before = steps(settled)
    errors: list[BaseException] = []

    def generate() -> None:
        with ImageClient(settled.grpc_url) as grpc, HttpImageClient(settled.http_url) as http:
            try:
                if kind == "stream":
                    list(grpc.stream("x", request_id="mine", **LONG))
                else:
                    (grpc if kind == "unary gRPC" else http).generate("x", request_id="mine", **LONG)
            except BaseException as error:
                errors.append(error)

    thread = threading.Thread(target=generate, daemon=True)
    thread.start()
    wait_until(lambda: steps(settled) > before)
    with ImageClient(settled.grpc_url) as client:
        assert not client.cancel("yours")
        assert active(settled) == 1
        assert client.cancel("mine")
    thread.join()
    assert [type(error) for error in errors] == [Cancelled]
    assert steps_after(settled, before) < STEPS / 2


def test_an_id_cancels_all_its_requests_waiting_ones_too_and_no_later_ones(settled: EmbeddedServer) -> None:
    before = steps(settled)

    async def generate() -> tuple[list[Any], GenerateResult]:
        async with AsyncImageClient(settled.grpc_url) as client:

            async def stream() -> Any:
                return [event async for event in client.stream("x", request_id="same", **LONG)][-1]

            calls = [stream(), stream(), stream(), *(client.generate("x", request_id="same", **LONG) for _ in range(3))]
            tasks = [asyncio.ensure_future(call) for call in calls]  # two of them are generated, four wait
            await asyncio.to_thread(wait_until, lambda: active(settled) == 2)
            await asyncio.to_thread(wait_until, lambda: pending(settled) >= 3)
            assert await client.cancel("same")
            results = await asyncio.gather(*tasks, return_exceptions=True)
            return results, await client.generate("x", request_id="same", num_inference_steps=2, size="64x64")

    results, later = asyncio.run(asyncio.wait_for(generate(), 120))
    assert [type(result) for result in results] == [Cancelled] * 6
    assert len(later.images) == 1
    assert steps_after(settled, before) < STEPS


def pending(server: EmbeddedServer) -> float:
    return metric(server, "nv_inference_pending_request_count", model="diffusion")


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_client_that_leaves_while_it_waits_is_never_started(settled: EmbeddedServer, protocol: str) -> None:
    """Over HTTP the keepalive of a waiting stream is what lets Triton notice."""
    with (
        ImageClient(settled.grpc_url) as client,
        closing(client.stream("x", request_id="first", **LONG)) as first,
        closing(client.stream("x", request_id="first", **LONG)) as second,
    ):
        for stream in (first, second):
            next(event for event in stream if event == Progress(1, STEPS))  # both slots are taken
        if protocol == "grpc":
            relay = ResettableConnection(settled.grpc_url)
            thread = threading.Thread(target=drain, args=(relay.address,), daemon=True)
            thread.start()
        else:
            connection = http_stream(settled.http_url)
            read_until(connection, b'"total_steps":0')  # the first keepalive
        wait_until(lambda: metric(settled, "imagegen_diffusion_waiting_requests") == 1)
        cancelled = metric(settled, "imagegen_diffusion_cancellations_total")
        if protocol == "grpc":
            relay.reset()
            thread.join()
        else:
            reset(connection)
        wait_until(lambda: metric(settled, "imagegen_diffusion_cancellations_total") == cancelled + 1)
        assert active(settled) == 2


def drain(address: str) -> None:
    with ImageClient(address) as client, contextlib.suppress(Exception):
        list(client.stream("y", **LONG))


def test_streams_and_cancels_work_with_several_instances(tmp_path: Path, random_checkpoint: str) -> None:
    repository = repository_with(tmp_path, "KIND_AUTO, count: 1", "KIND_AUTO, count: 2")
    parameters = {**PATIENT, **other_checkpoint(random_checkpoint)}
    with EmbeddedServer(repository, parameters=parameters) as server:

        async def generate() -> list[Any]:
            async with AsyncImageClient(server.grpc_url) as client:

                async def stream(seed: int) -> list[Any]:
                    return [event async for event in client.stream("x", seed=seed, num_inference_steps=4)]

                return list(await asyncio.gather(*(stream(seed) for seed in range(12))))

        for events in asyncio.run(generate()):
            assert news(events)[:-1] == [Progress(step, 4) for step in range(1, 5)]

        wait_until(lambda: active(server) == 0)  # else the six of the metric may be streams of before

        async def cancel() -> list[Any]:
            async with AsyncImageClient(server.grpc_url) as client:
                calls = [client.generate("x", request_id="all", **LONG) for _ in range(6)]
                tasks = [asyncio.ensure_future(call) for call in calls]
                await asyncio.to_thread(wait_until, lambda: active(server) == 6)
                assert await client.cancel("all")
                return await asyncio.gather(*tasks, return_exceptions=True)

        assert [type(result) for result in asyncio.run(cancel())] == [Cancelled] * 6
        wait_until(lambda: active(server) == 0)
        assert len(run_folders()) >= 1
        folder_of_server = [path for path in run_folders() if f"-{server.pid}-" in path.name]
        assert len(folder_of_server) == 1
        assert folder_of_server[0].stat().st_mode & 0o777 == 0o700
        assert {path.suffix for path in folder_of_server[0].iterdir()} == {
            ".events",
            ".commands",
            ".open",
            ".json",
            ".alive",
            ".asked",
            ".told",
        }
        assert len(list(folder_of_server[0].glob("*.commands"))) == 2
        pid = server.pid
    assert not [path for path in run_folders() if f"-{pid}-" in path.name]


def run_folders() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob("imagegen-run-*"))


def test_a_plain_grpc_cancel_of_the_stream_is_enough(settled: EmbeddedServer) -> None:
    before = steps(settled)
    results: list[Any] = []
    generating = threading.Event()

    def take(result: Any, error: Any) -> None:
        results.append((result, error))
        if result is not None and result.as_numpy("step")[0] == 2:
            generating.set()

    with triton_grpc.InferenceServerClient(settled.grpc_url) as client:
        client.start_stream(take)
        client.async_stream_infer("image_generation_stream", tensors(triton_grpc, {"prompt": "x", **LONG}))
        assert generating.wait(60)
        client.stop_stream(cancel_requests=True)
    assert steps_after(settled, before) <= 5
    assert isinstance(results[-1][1], InferenceServerException)
