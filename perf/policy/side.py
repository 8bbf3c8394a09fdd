"""One side of the comparison, in a process of its own: an engine, or a pipeline that batches, and the load on it.

`python side.py KIND CHECKPOINT SETTINGS`, with the packages of the tree that PYTHONPATH names, this one's or an older
one's. A line of JSON on standard input is a load, and a line on standard output what became of it; the end of the input
is the end. So it uses nothing of `perf` that older trees do not have.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

from imagegen.engine import Engine, EngineSettings
from perf.baselines.generate import MAX_BATCH, MAX_DELAY_S, BaselinePipeline, GenerateRequest
from perf.traces import Planned, closed_loop_trace, own_request, poisson_trace
from perf.workload import SHORT_STEPS, Request

ENGINE, STATIC = "engine", "static"
_POLL_S = 0.002

Row: TypeAlias = tuple[int, float, float, str]
"""Steps of a request, when it was due or sent and how long it took in seconds, and what went wrong."""


class EngineClient:
    """Sends requests to an engine in this process.

    Args:
        checkpoint: a folder.
        settings: of the engine, besides those that all sides share.
    """

    def __init__(self, checkpoint: str, settings: dict[str, Any]) -> None:
        shared = {"dtype": "float32", "device": "cpu", "cpu_threads": 1, "warmup_sizes": ("64x64",)}
        no_caches = {"prompt_cache_bytes": 0, "image_cache_bytes": 0}
        self.engine = Engine(EngineSettings.model_validate({"model": checkpoint, **shared, **no_caches, **settings}))
        self.engine.warm_up()

    async def generate(self, *, prompt: str, **values: Any) -> Any:
        """The images."""
        return await self.engine.generate_async(prompt, **values)


class StaticBatches:
    """What servers that batch requests do, without their front: up to eight, those of equal steps in one call."""

    def __init__(self, checkpoint: str) -> None:
        self._pipeline = BaselinePipeline(checkpoint)
        self._line: asyncio.Queue[tuple[GenerateRequest, asyncio.Future[bytes]]] = asyncio.Queue()

    async def generate(self, **values: Any) -> Any:
        """The image as a PNG file."""
        names = ("prompt", "num_inference_steps", "guidance_scale", "seed", "size")
        done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        await self._line.put((GenerateRequest(**{name: values[name] for name in names}), done))
        return await done

    async def work(self) -> None:
        """Do what comes, for ever."""
        while True:
            batch = [await self._line.get()]
            if self._line.empty():
                await asyncio.sleep(MAX_DELAY_S)
            while len(batch) < MAX_BATCH and not self._line.empty():
                batch.append(self._line.get_nowait())
            files = await asyncio.to_thread(self._pipeline.generate_batch, [request for request, _ in batch])
            for (_, done), file in zip(batch, files, strict=True):
                if not done.done():
                    done.set_result(file)


class ProcessorClock:
    """Seconds of the processor that this process has had, and those that it was idle for lack of requests.

    Other work on the machine hardly moves it, so that a side can be compared with another one that had its turn when
    the machine did something else. In it nothing runs in parallel, which costs an engine with several threads most.
    """

    def __init__(self) -> None:
        self._skipped_s = 0.0

    def now_s(self) -> float:
        """The time."""
        return time.process_time() + self._skipped_s

    async def reach(self, due_s: float, is_idle: Callable[[], bool]) -> None:
        """Wait until a time, at once where there is nothing to do until then."""
        while (left_s := due_s - self.now_s()) > 0:
            if is_idle():
                self._skipped_s += left_s
            else:
                await asyncio.sleep(_POLL_S)


async def send(client: Any, load: dict[str, Any]) -> list[Row]:
    """Send a load: `requests`, `seed`, `side_px`, and `rate_per_s` or `clients`.

    With `large_px` it is short requests alone, while another client has images of that size made, one after the other;
    none where it is 0. They begin after its first image, as those of a server that has been warmed up.
    """
    requests, seed, side_px = load["requests"], load["seed"], load["side_px"]
    if "rate_per_s" in load:
        return await _open_loop(client, poisson_trace(requests, load["rate_per_s"], seed, side_px))
    if "large_px" not in load:
        return await _closed_loop(client, closed_loop_trace(requests, seed, side_px), load["clients"])
    short = [Planned(0.0, own_request(i, SHORT_STEPS, seed, side_px)) for i in range(requests)]
    another = own_request(-1, SHORT_STEPS, 0, load["large_px"])
    if load["large_px"]:
        await client.generate(**another.values())
    large = asyncio.create_task(_repeat(client, another))
    try:
        return await _closed_loop(client, short, load["clients"])
    finally:
        large.cancel()
        await asyncio.gather(large, return_exceptions=True)


async def _open_loop(client: Any, trace: Sequence[Planned]) -> list[Row]:
    """Send each request when it is due."""
    clock, tasks = ProcessorClock(), set[asyncio.Task[Row]]()
    zero_s = clock.now_s()
    for planned in trace:
        await clock.reach(zero_s + planned.due_s, lambda: all(task.done() for task in tasks))
        tasks.add(asyncio.create_task(_row(client, clock, zero_s, planned, planned.due_s)))
    return list(await asyncio.gather(*tasks))


async def _closed_loop(client: Any, trace: Sequence[Planned], clients: int) -> list[Row]:
    """Let so many clients send all requests, each the next one when its own is done."""
    clock, line = ProcessorClock(), iter(trace)
    zero_s = clock.now_s()

    async def one_client() -> list[Row]:
        return [await _row(client, clock, zero_s, planned, clock.now_s() - zero_s) for planned in line]

    return [row for rows in await asyncio.gather(*(one_client() for _ in range(clients))) for row in rows]


async def _row(client: Any, clock: ProcessorClock, zero_s: float, planned: Planned, started_s: float) -> Row:
    error = ""
    try:
        await client.generate(**planned.request.values())
    except Exception as failure:
        error = f"{type(failure).__name__}: {failure}"
    return planned.request.num_inference_steps, started_s, clock.now_s() - zero_s - started_s, error


async def _repeat(client: Any, request: Request) -> None:
    while request.size[0]:
        await client.generate(**request.values())


async def serve(client: Any, receive: Callable[[], str], say: Callable[[str], None]) -> None:
    """Send each load that is asked for, until there are no more."""
    working = asyncio.create_task(client.work()) if isinstance(client, StaticBatches) else None
    while line := await asyncio.to_thread(receive):
        say(json.dumps(await send(client, json.loads(line))))
    if working is not None:
        working.cancel()


def main() -> None:
    """Be a side."""
    kind, checkpoint, settings = sys.argv[1:]
    opened: AbstractContextManager[Any]
    if kind == ENGINE:
        client: Any = EngineClient(checkpoint, json.loads(settings))
        opened = client.engine
    else:
        client, opened = StaticBatches(checkpoint), nullcontext()
    with opened:
        say: Callable[[str], Any] = lambda text: print(text, flush=True)  # noqa: E731
        say("ready")
        run: Awaitable[None] = serve(client, sys.stdin.readline, say)
        asyncio.run(run)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
