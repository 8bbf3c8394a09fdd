"""The table of the documents: what each preference gives under four loads, by simulation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from imagegen.engine.policy import Prefer
from perf.policy.simulation import Device, Load, Outcome, preferring, simulate, simulate_static_batches

DEVICE = Device(6.0, 2.2)
"""The bundled checkpoint at 64x64 on one core of 2025: half full, a row costs a third of what a forward costs."""

REQUESTS = 1000
LOADS = {"40 %": 0.4, "80 %": 0.8, "120 %": 1.2, "closed loop of 8": None}
"""Rates of Poisson arrivals as a share of what full batches of eight can do; None for clients that wait."""


def loads() -> dict[str, Load]:
    """By name."""
    return {
        name: Load(REQUESTS, rate_per_s=0.0 if share is None else share * DEVICE.per_s(8))
        for name, share in LOADS.items()
    }


def rows() -> list[str]:
    """Rows of a Markdown table: load, side, p50 and p95 of short and long ones in milliseconds, requests a second."""
    lines = []
    for name, load in loads().items():
        for side, outcome in _sides(load):
            found = outcome.summary
            latencies = (found.short_p50_ms, found.short_p95_ms, found.long_p50_ms, found.long_p95_ms)
            numbers = " | ".join(f"{latency:.0f}" for latency in latencies)
            lines.append(f"| {name} | {side} | {numbers} | {found.requests_per_s:.2f} |")
    return lines


def _sides(load: Load) -> Iterator[tuple[str, Outcome]]:
    yield "static batches", simulate_static_batches(DEVICE, load)
    for prefer in get_args(Prefer):
        yield prefer, simulate(DEVICE, load, preferring(prefer))
    if load.rate_per_s > DEVICE.per_s(8):
        yield "balanced, behind Triton's queue", simulate(DEVICE, load, preferring("balanced"), visible=1)
