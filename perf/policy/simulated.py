"""The part `simulate`: preferences and other rules under several loads, by what this machine's device costs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

from imagegen.engine.policy import Prefer
from perf.policy.costs import device_of, limit_per_s, measure_alone, measure_forwards
from perf.policy.simulation import (
    MAX_BATCH,
    Device,
    Load,
    Outcome,
    full_batches,
    ignoring_the_line,
    mean_images,
    preferring,
    simulate,
    simulate_static_batches,
)
from perf.report import Section, Target, table
from perf.summaries import Summary, summarize
from perf.workload import LONG_STEPS, SHORT_STEPS

BEFORE, EVERYBODY, STATIC = "before", "everybody, in order", "static batches"
_COLUMNS = (
    "side", "short p50 ms", "p95", "long p50 ms", "p95", "requests/s", "images a forward", "longest wait, forwards"
)  # fmt: skip
_LOADS = {"80 % of one at a time": 0.8, "80 % of full batches": 0.8, "120 % of full batches": 1.2}


@dataclass(frozen=True)
class Settings:
    """How much is simulated.

    Attributes:
        requests: of a load.
        seeds: traces of each load, pooled.
        repeats: forwards of each size, of which the least counts.
        alone: requests of each kind that are alone, of which the least counts.
        side_px: width and height of the images.
    """

    requests: int = 1500
    seeds: tuple[int, ...] = (1, 2, 3)
    repeats: int = 40
    alone: int = 8
    side_px: int = 64


QUICK = Settings(requests=100, seeds=(1,), repeats=1, alone=1)


def measure(settings: Settings, checkpoint: Path) -> Section:
    """Measure what the device costs, and simulate."""
    forwards = measure_forwards(checkpoint, settings.side_px, settings.repeats)
    return section(settings, forwards, measure_alone(checkpoint, settings.side_px, settings.alone))


def loads(device: Device, settings: Settings) -> dict[str, list[Load]]:
    """By name, one of each seed."""
    made = {}
    for name, share in _LOADS.items():
        rate_per_s = share * device.per_s(1 if "one at" in name else MAX_BATCH)
        made[name] = [Load(settings.requests, rate_per_s=rate_per_s, seed=seed) for seed in settings.seeds]
    made["closed loop of 8"] = [Load(settings.requests, seed=seed) for seed in settings.seeds]
    return made


def sides(device: Device) -> dict[str, Callable[[Load], Outcome]]:
    """By name."""
    made: dict[str, Callable[[Load], Outcome]] = {
        STATIC: lambda load: simulate_static_batches(device, load),
        BEFORE: lambda load: simulate(device, load, ignoring_the_line, in_order=True),
    }
    for prefer in get_args(Prefer):
        made[prefer] = _preferring(device, prefer)
    made[EVERYBODY] = lambda load: simulate(device, load, full_batches, in_order=True)
    made["balanced, behind Triton's queue"] = lambda load: simulate(device, load, preferring("balanced"), visible=1)
    return made


def _preferring(device: Device, prefer: Prefer) -> Callable[[Load], Outcome]:
    return lambda load: simulate(device, load, preferring(prefer))


def section(settings: Settings, forwards: dict[int, float], alone_ms: dict[int, float]) -> Section:
    """What the report says about it."""
    device = device_of(forwards, alone_ms)
    line = json.dumps({name: round(value, 2) for name, value in asdict(device).items()})
    paragraphs = [
        "Scheduler, policy and slots of the engine on a clock that forwards move, by the processor's time that was"
        " measured here, the least of several: a forward of "
        + ", ".join(f"{rows} rows {ms:.1f} ms" for rows, ms in forwards.items())
        + f"; a request of 4 steps alone {alone_ms[SHORT_STEPS]:.0f} ms, of 50 {alone_ms[LONG_STEPS]:.0f} ms. As a"
        f" line: `{line}`. Full batches of eight do {device.per_s(MAX_BATCH):.2f} requests/s, one at a time"
        f" {device.per_s(1):.2f}, forwards of 16 rows back to back {limit_per_s(forwards):.2f}."
    ]
    found: dict[str, dict[str, Summary]] = {}
    for name, traces in loads(device, settings).items():
        rows, found[name] = [], {}
        for side, run in sides(device).items():
            outcomes = [run(load) for load in traces]
            summary = summarize(
                replace(one, round=number) for number, outcome in enumerate(outcomes) for one in outcome.records
            )
            found[name][side] = summary
            images = sum(map(mean_images, outcomes)) / len(outcomes)
            waited = max((wait for outcome in outcomes for wait in outcome.waits), default=0)
            rows.append(
                (side, summary.short_p50_ms, summary.short_p95_ms, summary.long_p50_ms, summary.long_p95_ms,
                 summary.requests_per_s, images, waited)
            )  # fmt: skip
        paragraphs += [f"### {name[0].upper()}{name[1:]}", table(_COLUMNS, rows)]
    return Section(
        title="The policy by simulation",
        settings=settings,
        paragraphs=paragraphs,
        raw={
            "forward_ms": forwards,
            "alone_ms": alone_ms,
            "summaries": {name: {side: asdict(one) for side, one in by.items()} for name, by in found.items()},
        },
        targets=targets(found, limit_per_s(forwards)),
    )


def targets(found: Mapping[str, Mapping[str, Summary]], limit: float) -> list[Target]:
    """Of the default preference, by side."""
    at_80, over, closed = found["80 % of full batches"], found["120 % of full batches"], found["closed loop of 8"]
    balanced, static = at_80["balanced"], at_80[STATIC]
    kept = over["balanced"].requests_per_s / over[EVERYBODY].requests_per_s
    sooner = over["balanced"].short_p95_ms / over[BEFORE].short_p95_ms
    share = closed["balanced"].requests_per_s / limit
    return [
        Target("simulated, 80 %: short p95 <= 300 ms", f"{balanced.short_p95_ms:.0f} ms", balanced.short_p95_ms <= 300),
        Target(
            "simulated, 80 %: long p50 below static batches'",
            f"{balanced.long_p50_ms:.0f} against {static.long_p50_ms:.0f} ms",
            balanced.long_p50_ms < static.long_p50_ms,
        ),
        Target("simulated, 120 %: throughput >= 97 % of full batches'", f"{kept:.1%}", kept >= 0.97),
        Target("simulated, 120 %: short p95 less than half of before", f"{sooner:.1%}", sooner < 0.5),
        Target("simulated, closed loop of 8: >= 90 % of full forwards back to back", f"{share:.1%}", share >= 0.9),
    ]
