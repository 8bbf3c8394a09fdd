"""The library from asyncio: the same results, and a task that is cancelled frees its slot within one step."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from imagegen.api.errors import Cancelled, DeadlineExceeded, InvalidArgument, Unavailable
from imagegen.api.events import Progress
from imagegen.engine import Engine, GenerationResult
from tests.unit.tiny_engine import ENDLESS, SLOTS, TIMEOUT_S, Gate, levels, wait_until


def in_thread(condition: object) -> asyncio.Future[None]:
    """Wait for a condition without holding up the loop."""
    return asyncio.ensure_future(asyncio.to_thread(wait_until, condition))  # type: ignore[arg-type]


def test_many_requests_at_once_all_end(engine: Engine) -> None:
    async def ask() -> list[GenerationResult]:
        requests = (engine.generate_async("a red cat", seed=seed) for seed in range(3 * SLOTS))
        return await asyncio.wait_for(asyncio.gather(*requests), TIMEOUT_S)

    results = asyncio.run(ask())
    assert [result.seeds for result in results] == [(seed,) for seed in range(3 * SLOTS)]
    assert levels(results[5].frames, engine.generate("a red cat", seed=5).frames) <= 1


def test_a_stream_has_each_step_then_the_result(engine: Engine) -> None:
    async def ask() -> list[object]:
        return [event async for event in engine.stream_async("a red cat", num_inference_steps=4)]

    *events, result = asyncio.run(ask())
    assert events == [Progress(step, 4) for step in range(1, 5)]
    assert isinstance(result, GenerationResult)


def test_an_invalid_request_is_refused_before_anything_starts(engine: Engine) -> None:
    async def ask() -> None:
        with pytest.raises(InvalidArgument, match="n: 0 is outside"):
            await engine.generate_async("a red cat", n=0)
        with pytest.raises(InvalidArgument, match="n: 0 is outside"):
            engine.stream_async("a red cat", n=0)

    asyncio.run(ask())
    assert engine.active_requests == 0


def test_cancelling_the_task_cancels_the_request_within_one_step(engine: Engine, gate: Gate) -> None:
    async def ask() -> None:
        gate.close()
        task = asyncio.create_task(engine.generate_async("a red cat", num_inference_steps=ENDLESS))
        await in_thread(gate.reached.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.open()
        await in_thread(lambda: engine.active_requests == 0)

    asyncio.run(ask())
    assert gate.steps == 1, "the step under way was the last"


def test_leaving_a_stream_cancels_the_request_within_one_step(engine: Engine, gate: Gate) -> None:
    async def ask() -> int:
        async with aclosing(engine.stream_async("a red cat", num_inference_steps=ENDLESS)) as stream:  # type: ignore[type-var]
            async for event in stream:
                assert event == Progress(1, ENDLESS)
                gate.close()
                await in_thread(gate.reached.is_set)
                break
        steps = gate.steps
        gate.open()
        await in_thread(lambda: engine.active_requests == 0)
        return steps

    assert asyncio.run(ask()) == gate.steps


def test_a_task_that_is_cancelled_while_it_waits_leaves_the_line(engine: Engine, gate: Gate) -> None:
    async def ask() -> list[GenerationResult]:
        gate.close()
        holding = [asyncio.create_task(engine.generate_async("a red cat")) for _ in range(SLOTS)]
        await in_thread(lambda: engine.active_requests == SLOTS)
        first, second, third = (asyncio.create_task(engine.generate_async("a red cat")) for _ in range(3))
        named = asyncio.create_task(engine.generate_async("a red cat", request_id="mine"))
        late = asyncio.create_task(engine.generate_async("a red cat", timeout_ms=20))
        await in_thread(lambda: engine.waiting_requests >= 4)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert engine.cancel("mine")
        with pytest.raises(Cancelled):
            await named
        with pytest.raises(DeadlineExceeded, match="before the request was started"):
            await late
        gate.open()
        return await asyncio.wait_for(asyncio.gather(*holding, first, third), TIMEOUT_S)

    assert len(asyncio.run(ask())) == SLOTS + 2
    assert (engine.active_requests, engine.waiting_requests) == (0, 0)


def test_a_loop_that_ends_takes_its_requests_with_it(engine: Engine, gate: Gate) -> None:
    async def ask() -> None:
        asyncio.get_running_loop().create_task(engine.generate_async("a red cat", num_inference_steps=ENDLESS))
        await in_thread(lambda: gate.steps > 2)

    asyncio.run(ask())
    wait_until(lambda: engine.active_requests == 0)
    assert engine.generate("a red cat").frames.shape[0] == 1


def test_a_closed_engine_refuses(engine: Engine) -> None:
    engine.close()
    with pytest.raises(Unavailable, match="shutting down"):
        asyncio.run(engine.generate_async("a red cat"))
