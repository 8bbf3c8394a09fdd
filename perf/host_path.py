"""The part `host_path`: what does a tick of the engine cost beside its forward?

The denoiser is replaced by a pause. What counts is what lies between two forwards of all requests: the processor's time
of the device's thread, of which the least says most where a machine is shared, and calls of functions, which no
machine changes.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from imagegen.engine import Engine, EngineSettings
from imagegen.engine.metric_families import discard
from perf.report import Section, table

TOGETHER, APART = "together", "apart"
_SIDE_PX = 64


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        rows: requests at the same time, one row each.
        steps: of a request, at least.
        forward_ms: how long a forward pauses.
    """

    rows: tuple[int, ...] = (1, 8, 32, 128)
    steps: int = 24
    forward_ms: float = 2.0


QUICK = Settings(rows=(1, 2), steps=4, forward_ms=0.0)


@dataclass
class StandIn:
    """A forward that computes nothing, and what the device's thread does between two of so many rows.

    Attributes:
        rows: which forwards are looked at.
        pause_s: of a forward.
        counts_calls: whether calls of functions are counted, which makes everything slower.
        seconds: of the processor, between two forwards in turn.
        calls: of functions of Python and C, likewise.
    """

    rows: int
    pause_s: float
    counts_calls: bool
    seconds: list[float] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    _last_s: float | None = None
    _calls: int = 0

    def __call__(self, sample: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor]:
        """An output of the shape of the sample [rows, C, H, W]."""
        sys.setprofile(None)
        now_s = time.thread_time()
        is_full = len(sample) == self.rows
        if is_full and self._last_s is not None:
            self.seconds.append(now_s - self._last_s)
            self.calls.append(self._calls)
        time.sleep(self.pause_s)
        output = sample * 0.5
        self._calls = 0
        self._last_s = time.thread_time() if is_full else None
        if self.counts_calls and is_full:
            sys.setprofile(self._count)
        return (output,)

    def _count(self, frame: Any, event: str, argument: Any) -> None:
        self._calls += event in ("call", "c_call")


@dataclass(frozen=True)
class Tick:
    """What lies between two forwards.

    Attributes:
        load: TOGETHER, requests that are always at the same step, or APART, each with other timesteps.
        rows: of the forwards.
        least_ms, median_ms: of the processor.
        calls: of functions, the median.
    """

    load: str
    rows: int
    least_ms: float
    median_ms: float
    calls: float


def measure(settings: Settings, checkpoint: Path) -> Section:
    """Have an engine in this process generate with a denoiser that only pauses."""
    most = max(settings.rows)
    engine = Engine(
        EngineSettings.model_validate(
            {
                "model": str(checkpoint),
                "device": "cpu",
                "cpu_threads": 1,
                "warmup_sizes": ("none",),
                "max_active_requests": most,
                "max_batch_rows": most,
                "prefer": "throughput",
                "max_num_inference_steps": settings.steps + most,
            }
        ),
        new_series=discard,
    )
    with engine:
        ticks = [_tick(engine, settings, load, rows) for rows in settings.rows for load in (TOGETHER, APART)]
    return section(settings, ticks)


def _tick(engine: Engine, settings: Settings, load: str, rows: int) -> Tick:
    unet = next(iter(engine.pipelines.tasks.values())).pipeline.unet
    steps = [settings.steps + (index if load == APART else 0) for index in range(rows)]
    timed, counted = (StandIn(rows, settings.forward_ms / 1000, counts_calls) for counts_calls in (False, True))
    own = unet.forward
    try:
        for stand_in in (timed, counted):
            unet.forward = _with_names_of(own, stand_in)
            asyncio.run(_generate(engine, steps))
    finally:
        unet.forward = own
    milliseconds = [1000 * seconds for seconds in timed.seconds]
    return Tick(load, rows, min(milliseconds), statistics.median(milliseconds), statistics.median(counted.calls))


def _with_names_of(forward: Any, stand_in: StandIn) -> Any:
    """The stand-in as a function whose arguments have the names of the forward's, by which calls are merged."""

    def forward_of_no_time(*args: Any, **kwargs: Any) -> Any:
        given = dict(kwargs)
        return stand_in(given.pop("sample") if not args else args[0], **given)

    forward_of_no_time.__wrapped__ = forward  # type: ignore[attr-defined]
    return forward_of_no_time


async def _generate(engine: Engine, steps: Sequence[int]) -> None:
    size = f"{_SIDE_PX}x{_SIDE_PX}"
    options: dict[str, Any] = {"guidance_scale": 1.0, "size": size}  # without guidance a request is one row
    await asyncio.gather(
        *(
            engine.generate_async("a red circle", num_inference_steps=count, seed=seed, **options)
            for seed, count in enumerate(steps)
        )
    )


def section(settings: Settings, ticks: Sequence[Tick]) -> Section:
    """What the report says."""
    rows = [
        (
            str(tick.rows),
            tick.load,
            tick.least_ms,
            tick.median_ms,
            f"{100 * tick.least_ms / (tick.least_ms + settings.forward_ms):.0f}",
            f"{tick.calls:.0f}",
            f"{tick.calls / tick.rows:.0f}",
        )
        for tick in ticks
    ]
    names = ("rows", "requests", "least ms", "median ms", "% of a tick", "calls", "calls a request")
    return Section(
        title="A tick beside its forward",
        settings=settings,
        paragraphs=[
            "An engine in this process, on one thread of the CPU, whose denoiser only pauses for"
            f" {settings.forward_ms:g} ms; requests of one row each, in one forward. *Together* they are always at the"
            " same step, so that their scheduler's steps are done as one; *apart* each has its own number of steps."
            " The share of a tick is that of the least time. Calls are those of functions of Python and C.",
            table(names, rows),
        ],
        raw={"ticks": [vars(tick) for tick in ticks]},
    )
