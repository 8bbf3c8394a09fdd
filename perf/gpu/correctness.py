"""Is what the engine makes on this device right? Before anything is timed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import torch

from imagegen.engine import Engine
from perf.gpu.requests import Asked, Frame, Make, by_engine, levels

_CANCEL_AFTER_S = 0.5
_LONGEST_S = 60.0
ENDLESS_STEPS = 900


def mixed_requests(count: int, side_px: int) -> list[Asked]:
    """Of different lengths, so that each step has other neighbours."""
    return [Asked(number, 4 + number % 4, side_px) for number in range(count)]


def mixed_as_alone(engine: Engine, plain: Make, side_px: int, count: int = 8) -> Mapping[str, Any]:
    """Requests that share forwards, against each by the engine alone and by the plain pipeline.

    Returns:
        the largest and mean levels of difference, of 255: `mixed_*` between sharing and alone, `plain_*` between alone
        and the plain pipeline; and the forwards that both took.
    """
    make, asked = by_engine(engine), mixed_requests(count, side_px)
    before = engine._runner._forwards
    alone = [make(one) for one in asked]
    between = engine._runner._forwards
    together = _at_once(make, asked)
    after = engine._runner._forwards
    mixed = [levels(one, other) for one, other in zip(together, alone, strict=True)]
    own = [levels(one, plain(request)) for one, request in zip(alone[:2], asked, strict=False)]
    return {
        "mixed_max": max(most for most, _ in mixed),
        "mixed_mean": max(mean for _, mean in mixed),
        "plain_max": max(most for most, _ in own),
        "plain_mean": max(mean for _, mean in own),
        "forwards_alone": between - before,
        "forwards_together": after - between,
        "different_images": len({frame.tobytes() for frame in alone}),
    }


def cancel(engine: Engine, side_px: int) -> Mapping[str, Any]:
    """How long the work of a request goes on after it was cancelled.

    Returns:
        `freed_s`: until its slot was free; `next_max`: levels between an image afterwards and the same one before.
    """
    make, asked = by_engine(engine), Asked(1, 4, side_px)
    expected = make(asked)

    async def cancelled() -> float:
        size = (side_px, side_px)
        endless = asyncio.create_task(
            engine.generate_async("endless", size=size, num_inference_steps=ENDLESS_STEPS, seed=2)
        )
        await asyncio.sleep(_CANCEL_AFTER_S)
        if not engine.active_requests:
            raise RuntimeError("the request that was to be cancelled was not being generated")
        endless.cancel()
        began_s = time.monotonic()
        while engine.active_requests and time.monotonic() < began_s + _LONGEST_S:
            await asyncio.sleep(0.001)
        return time.monotonic() - began_s

    freed_s = asyncio.run(cancelled())
    return {"freed_s": freed_s, "next_max": levels(make(asked), expected)[0], "still_active": engine.active_requests}


def little_memory(
    engine: Engine, limited: Callable[[], AbstractContextManager[None]], side_px: int, count: int
) -> Mapping[str, Any]:
    """Requests that do not fit into one forward, while the device has less memory than it has.

    Args:
        engine: its largest forward takes all of them.
        limited: while it lasts there is too little memory for that forward.
        side_px: of the images.
        count: requests.

    Returns:
        `max`: levels to the images that were made with all the memory; `row_limit`: that was learnt, below `rows`;
        `retries`: forwards that were run again in halves.
    """
    make = by_engine(engine)
    asked = [Asked(number, 4, side_px) for number in range(count)]
    expected = [make(one) for one in asked]
    executor = engine._runner._executor
    before = executor.isolation_retries
    with limited():
        frames = _at_once(make, asked)
    return {
        "max": max(levels(one, other)[0] for one, other in zip(frames, expected, strict=True)),
        "mean": max(levels(one, other)[1] for one, other in zip(frames, expected, strict=True)),
        "row_limit": executor.row_limit,
        "rows": engine.settings.max_batch_rows,
        "retries": executor.isolation_retries - before,
    }


class CudaMemory:
    """While it lasts, torch gets half of the memory that a forward of many rows takes beyond what is held now.

    Args:
        work: that forward, with all that is around it.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        self._held = torch.cuda.memory_allocated()
        work()
        self._peak = torch.cuda.max_memory_allocated()

    def __enter__(self) -> None:
        torch.cuda.empty_cache()
        allowed = self._held + (self._peak - self._held) / 2
        torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.get_device_properties().total_memory)

    def __exit__(self, *_: object) -> None:
        torch.cuda.set_per_process_memory_fraction(1.0)


def at_once_on(engine: Engine, side_px: int, count: int) -> None:
    """Requests that share their forwards."""
    _at_once(by_engine(engine), [Asked(number, 4, side_px) for number in range(count)])


def _at_once(make: Make, asked: Sequence[Asked]) -> list[Frame]:
    with ThreadPoolExecutor(len(asked)) as threads:
        return list(threads.map(make, asked))
