"""What the engine makes of a model: its own share of a step, and closed loops beside what people do without it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from imagegen.engine import Engine
from perf.gpu.correctness import at_once_on
from perf.gpu.requests import Asked, FixedBatches, Loop, Make, by_engine, by_pipeline, closed_loop, levels, mixed
from perf.turns import rotated

ENGINE, PIPELINE, BATCHES = "engine", "pipeline", "batches"
FORECASTS = ("off", "balanced", "fast")


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        side_px: width and height of the images.
        clients: of the closed loops, and images of a batch.
        requests: of a loop.
        rounds: of each loop, in turns.
        short_steps, long_steps: of seven requests in ten, and of the others.
        overhead_steps: of the requests that show the engine's own share.
    """

    side_px: int = 1024
    clients: int = 8
    requests: int = 20
    rounds: int = 2
    short_steps: int = 4
    long_steps: int = 28
    overhead_steps: int = 12


def overhead(engine: Engine, settings: Settings) -> Mapping[str, Any]:
    """Equal requests that share every forward: seconds a step, all that the engine does included.

    Returns:
        `step_s`: of so many `images` together. Two lengths were compared, so that text and VAE do not count.
    """
    clients, few = settings.clients, settings.overhead_steps

    def wall_s(steps: int) -> float:
        asked = [Asked(number, steps, settings.side_px) for number in range(clients)]
        return closed_loop(by_engine(engine), asked, clients).seconds

    at_once_on(engine, settings.side_px, clients)
    return {"step_s": (wall_s(3 * few) - wall_s(few)) / (2 * few), "images": clients}


def loops(engine: Engine, pipeline: Any, settings: Settings) -> Mapping[str, Any]:
    """The same requests by the engine, by the pipeline one at a time, and in fixed batches of equal steps, in turns.

    Returns:
        by side `requests_per_s`, `short_p95_s` and `long_p50_s`; `max` and `mean`: levels between the images of the
        engine and of the pipeline.
    """
    asked = mixed(settings.requests, settings.short_steps, settings.long_steps, settings.side_px)
    batches = FixedBatches(pipeline, settings.clients)
    try:
        sides: dict[str, Make] = {ENGINE: by_engine(engine), PIPELINE: by_pipeline(pipeline), BATCHES: batches}
        for make in sides.values():
            closed_loop(make, asked[:2], 2)
        done: dict[str, list[Loop]] = {name: [] for name in sides}
        for number in range(settings.rounds):
            for name in rotated(list(sides), number):
                done[name].append(closed_loop(sides[name], asked, settings.clients))
    finally:
        batches.close()
    differences = [levels(*pair) for pair in zip(done[ENGINE][0].frames, done[PIPELINE][0].frames, strict=True)]
    return {
        **{name: _summary(each) for name, each in done.items()},
        "max": max(most for most, _ in differences),
        "mean": max(mean for _, mean in differences),
    }


def forecasts(engine: Engine, settings: Settings) -> Mapping[str, Any]:
    """A closed loop of long requests with and without a step cache.

    Returns:
        by `FORECASTS`: `requests_per_s`.
    """
    asked = [Asked(number, settings.long_steps, settings.side_px) for number in range(settings.clients)]
    done: dict[str, Loop] = {}
    for words in FORECASTS:
        cached = [replace(one, step_cache=words) for one in asked]
        done[words] = closed_loop(by_engine(engine), cached, settings.clients)
    return {words: {"requests_per_s": loop.requests_per_s} for words, loop in done.items()}


def _summary(rounds: Sequence[Loop]) -> Mapping[str, float]:
    """Medians of the rounds."""
    return {
        name: statistics.median(getattr(loop, name) for loop in rounds)
        for name in ("requests_per_s", "short_p95_s", "long_p50_s")
    }
