"""The engine inside Triton: cancellation, deadlines, the queue's bound and its priorities, its metrics."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import psutil
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from imagegen.launch.embedded_server import EmbeddedServer
from imagegen_client import AsyncImageClient, DeadlineExceeded, ImageClient, Unavailable
from tests.service.conftest import tensors
from tests.service.server_metrics import active, let_metrics_arrive, metric, steps, wait_until

LONG: dict[str, Any] = {
    "num_inference_steps": 100,
    "size": "256x256",
}  # seconds: the tests end it before


def diffusion_inputs(**values: Any) -> list[Any]:
    """Inputs for the diffusion model itself: a cancel reaches it, but not through an ensemble on this release."""
    return list(tensors(triton_grpc, values))


def test_metrics_count_what_was_generated(narrow: EmbeddedServer) -> None:
    """The first test: what others have ended may be counted a while later."""
    names = {"task": "text-to-image", "outcome": "ok"}

    def images() -> float:
        return metric(narrow, "imagegen_diffusion_images_total", **names)

    def hits() -> float:
        return metric(narrow, "imagegen_diffusion_cache_hits_total", cache="prompt")

    with ImageClient(narrow.grpc_url) as client:
        client.generate("a prompt to remember", num_inference_steps=1)
        wait_until(lambda: active(narrow) == 0)
        let_metrics_arrive(narrow)
        images_before, hits_before, steps_before = images(), hits(), steps(narrow)
        client.generate("a prompt to remember", n=3, num_inference_steps=5)
    wait_until(lambda: images() == images_before + 3)
    wait_until(lambda: steps(narrow) == steps_before + 15)
    assert hits() > hits_before
    assert metric(narrow, "imagegen_diffusion_stage_seconds_count", stage="denoise") > 0
    assert metric(narrow, "imagegen_diffusion_forward_rows_count") == metric(
        narrow, "imagegen_diffusion_forwards_total"
    )


@pytest.mark.parametrize("case", ["generating", "waiting"])
def test_a_cancelled_request_leaves_and_frees_its_slot(narrow: EmbeddedServer, case: str) -> None:
    ended: list[Any] = []
    answered = threading.Event()

    def take(result: Any, error: Any) -> None:
        ended.append(error)
        answered.set()

    with triton_grpc.InferenceServerClient(narrow.grpc_url) as client:
        cancelled_before = metric(narrow, "imagegen_diffusion_cancellations_total")
        first = client.async_infer(
            "diffusion", diffusion_inputs(prompt="x", **LONG), callback=lambda result, error: None
        )
        wait_until(lambda: active(narrow) == 1)
        if case == "waiting":
            second = client.async_infer("diffusion", diffusion_inputs(prompt="y", **LONG), callback=take)
            wait_until(lambda: metric(narrow, "imagegen_diffusion_waiting_requests") == 1)
            second.cancel()
            assert answered.wait(10)
            wait_until(lambda: metric(narrow, "imagegen_diffusion_waiting_requests") == 0)
            assert active(narrow) == 1
        first.cancel()
        wait_until(lambda: active(narrow) == 0)
        expected = cancelled_before + (2 if case == "waiting" else 1)
        wait_until(lambda: metric(narrow, "imagegen_diffusion_cancellations_total") == expected)
        let_metrics_arrive(narrow)
        done = steps(narrow)
        own = let_metrics_arrive(narrow)  # the next requests are served
        assert steps(narrow) == done + own


def pending(server: EmbeddedServer) -> float:
    return metric(server, "nv_inference_pending_request_count", model="diffusion")


def test_a_deadline_ends_a_request_while_it_is_generated_and_while_it_waits_in_line(narrow: EmbeddedServer) -> None:
    with ImageClient(narrow.grpc_url) as client, pytest.raises(DeadlineExceeded, match="before the image was fin"):
        client.generate("x", timeout_ms=300, **LONG)
    wait_until(lambda: active(narrow) == 0)  # metrics come now and then: the next 1 shall be the next one's

    async def line() -> list[Any]:
        async with AsyncImageClient(narrow.grpc_url) as client:
            first = asyncio.create_task(client.generate("x", timeout_ms=1500, **LONG))
            await asyncio.to_thread(wait_until, lambda: active(narrow) == 1)
            # The first of them waits in `execute`, the others in Triton's queue.
            waiting = [client.generate("y", timeout_ms=200, num_inference_steps=1) for _ in range(3)]
            return list(await asyncio.gather(first, *waiting, return_exceptions=True))

    first, *waited = asyncio.run(line())
    assert "before the image was finished" in str(first)
    assert all("before the request was started" in str(error) for error in waited), waited
    wait_until(lambda: active(narrow) == 0)


def test_a_full_queue_refuses_at_once_with_503(narrow: EmbeddedServer) -> None:
    async def flood() -> list[Any]:
        async with AsyncImageClient(narrow.grpc_url) as client:
            first = asyncio.create_task(client.generate("x", n=4, **LONG | {"num_inference_steps": 50}))
            await asyncio.to_thread(wait_until, lambda: active(narrow) == 1)
            in_execute = asyncio.create_task(client.generate("y", num_inference_steps=1))
            await asyncio.to_thread(wait_until, lambda: metric(narrow, "imagegen_diffusion_waiting_requests") == 1)
            line = (client.generate("z", num_inference_steps=1) for _ in range(10))
            return await asyncio.gather(in_execute, *line, first, return_exceptions=True)

    in_execute, *line, first = asyncio.run(flood())
    assert (len(first.images), len(in_execute.images)) == (4, 1)
    refused = [result for result in line if isinstance(result, BaseException)]
    assert all(isinstance(error, Unavailable) and "queue size" in str(error) for error in refused), refused
    assert len(line) - len(refused) == 3  # the queue's size
    wait_until(lambda: active(narrow) == 0)


def test_priority_1_overtakes_a_line_of_priority_3(narrow: EmbeddedServer) -> None:
    order: list[str] = []
    wait_until(lambda: active(narrow) == 0)

    async def race() -> None:
        async with AsyncImageClient(narrow.grpc_url) as client:

            async def generate(name: str, priority: int, steps: int) -> None:
                await client.generate(name, num_inference_steps=steps, priority=priority)
                order.append(name)

            blocking = asyncio.create_task(client.generate("x", priority=3, timeout_ms=5000, **LONG))
            await asyncio.to_thread(wait_until, lambda: active(narrow) == 1)
            low = [asyncio.create_task(generate(f"low {index}", 3, 2)) for index in range(3)]
            await asyncio.to_thread(wait_until, lambda: pending(narrow) >= 2)
            urgent = asyncio.create_task(generate("urgent", 1, 1))
            await asyncio.gather(blocking, *low, urgent, return_exceptions=True)

    asyncio.run(race())
    # One low request had already left the line for `execute`, which waits for the slot.
    assert order.index("urgent") == 1, order


def test_500_in_flight_all_get_their_images_and_memory_returns(server: EmbeddedServer) -> None:
    stub = max(psutil.Process(server.pid).children(), key=lambda process: process.memory_info().rss)

    async def flood(count: int) -> list[Any]:
        async with AsyncImageClient(server.grpc_url) as client:
            calls = (client.generate("x", num_inference_steps=1, size="64x64", seed=i) for i in range(count))
            return await asyncio.gather(*calls)

    asyncio.run(flood(100))
    before = stub.memory_info().rss
    results = asyncio.run(flood(500))
    assert [result.seeds for result in results] == [(index,) for index in range(500)]
    wait_until(lambda: active(server) == 0)
    assert stub.memory_info().rss < before + 64 * 2**20


def test_a_bad_request_is_refused_while_every_slot_is_taken(narrow: EmbeddedServer) -> None:
    with triton_grpc.InferenceServerClient(narrow.grpc_url) as client:
        first = client.async_infer(
            "diffusion", diffusion_inputs(prompt="x", **LONG), callback=lambda result, error: None
        )
        wait_until(lambda: active(narrow) == 1)
        with pytest.raises(InferenceServerException, match="n: 99 is outside"):
            client.infer("image_generation", diffusion_inputs(prompt="x", n=99), client_timeout=10)
        first.cancel()
    wait_until(lambda: active(narrow) == 0)


def test_without_a_store_the_edge_refuses_before_any_work(narrow: EmbeddedServer) -> None:
    """Sent to the first step of the ensemble alone: the request does not get as far as the second one."""
    with (
        triton_http.InferenceServerClient(narrow.http_url) as client,
        pytest.raises(InferenceServerException, match='response_format: "url" needs a result store') as refused,
    ):
        client.infer("image_preprocess", tensors(triton_http, {"prompt": "x", "response_format": "url"}))
    assert refused.value.status() == "400"
