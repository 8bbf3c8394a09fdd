"""One side of the comparison, in a process of its own: an engine, or a pipeline that batches, and the load on it.

`python side.py KIND CHECKPOINT SETTINGS`, with the packages of the tree that PYTHONPATH names, this one's or an older
one's. A line of JSON on standard input is a load, and a line on standard output what became of it; the end of the input
is the end. So it uses nothing of `perf` that older trees do not have.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from imagegen.engine import Engine, EngineSettings
from perf.baselines.generate import MAX_BATCH, MAX_DELAY_S, BaselinePipeline, GenerateRequest
from perf.load import Completed, closed_loop, open_loop
from perf.traces import closed_loop_trace, poisson_trace

ENGINE, STATIC = "engine", "static"


class EngineClient:
    """Sends requests to an engine in this process, as a client of `perf.load`.

    Args:
        checkpoint: a folder.
        settings: of the engine, besides those that all sides share.
    """

    def __init__(self, checkpoint: str, settings: dict[str, Any]) -> None:
        shared = {"dtype": "float32", "device": "cpu", "cpu_threads": 1, "warmup_sizes": ("64x64",)}
        no_caches = {"prompt_cache_bytes": 0, "image_cache_bytes": 0}
        self.engine = Engine(EngineSettings.model_validate({"model": checkpoint, **shared, **no_caches, **settings}))
        self.engine.warm_up()

    async def generate(self, *, prompt: str, timeout_s: float, **values: Any) -> Any:
        """The images."""
        return await self.engine.generate_async(prompt, **values)


class StaticBatches:
    """What servers that batch requests do, without their front: up to eight, those of equal steps in one call."""

    def __init__(self, checkpoint: str) -> None:
        self._pipeline = BaselinePipeline(checkpoint)
        self._line: asyncio.Queue[tuple[GenerateRequest, asyncio.Future[bytes]]] = asyncio.Queue()

    async def generate(self, *, timeout_s: float, **values: Any) -> Any:
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


async def send(client: Any, load: dict[str, Any]) -> list[Completed]:
    """Send a load: `requests`, `seed`, `side_px`, and `rate_per_s` or `clients`."""
    if "rate_per_s" in load:
        trace = poisson_trace(load["requests"], load["rate_per_s"], load["seed"], load["side_px"])
        return await open_loop(client, trace, lambda: None)
    trace = closed_loop_trace(load["requests"], load["seed"], load["side_px"])
    return await closed_loop(client, trace, load["clients"], lambda: None)


async def serve(client: Any, receive: Callable[[], str], say: Callable[[str], None]) -> None:
    """Send each load that is asked for, until there are no more."""
    working = asyncio.create_task(client.work()) if isinstance(client, StaticBatches) else None
    while line := await asyncio.to_thread(receive):
        completed = await send(client, json.loads(line))
        rows = [(one.planned.request.num_inference_steps, one.started_s, one.latency_s, one.error) for one in completed]
        say(json.dumps(rows))
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
